// Package stack is the compose project and the engine that runs it. It loads a compose file and rewrites it so that
// no secret passes through Compose ([Load]), creates containers ([Engine.Create]), delivers secrets into memory-backed
// volumes ([Engine.Feed], or in two steps [Engine.Prepare]), and starts, restarts, watches and asks containers one by
// one; [Engine.KillProject] ends all of them at once. [Engine.Survey] and [Engine.Postures] show what the engine keeps in
// the clear, and which doors of it stand open.
//
// It is the only importer of Docker packages. It guarantees that a secret's value leaves [Engine.Feed] only as the
// tar stream to the engine, [Engine.Exec] and [Engine.Stream] only on the command's stdin: never in an argument, a
// label, an environment, a container's layer, an error or a log. It never decides what to start or when, never builds or pulls
// an image, never prompts and never prints.
//
// How delivery works: every service with secrets has a volume of type tmpfs, mounted read-only at /run/secrets. One
// small container, the keeper, holds all of them. A file is copied through the keeper into a staging folder of the
// volume and then renamed by the keeper's program, so that a reader sees the old file or the new one. The program is
// started first and waits for one byte; when that does not come, it takes the staged files away. In each volume lies
// the record of what was delivered and which run of the container has not taken it yet; it lives exactly as long as
// the files do. With the first renames it becomes an open one, and is closed after the last: killed before them,
// nothing was ever different; killed after them, the next delivery begins anew and whatever runs is stale.
package stack

// KeeperService is the name of the service that holds the memory-backed volumes. A compose file may not use it.
const KeeperService = "keeper"

const (
	secretsDir   = "/run/secrets" // where a service reads its secrets
	keeperRoot   = "/s"           // where the keeper sees them: /s/SERVICE
	recordVolume = "secrets"      // key of the keeper's own volume, at /s: the others are mounted below it
	volumePrefix = "secrets-"     // keys of the services' volumes: secrets-SERVICE
	stageDir     = ".stage"       // in each volume, 0700 of the keeper's user: files on their way, and the record
	extensionKey = "x-minibot"
	madeLabel    = "com.minibot.made" // of every service's container that [Engine.Create] made
)
