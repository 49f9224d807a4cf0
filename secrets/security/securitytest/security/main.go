// Command security plays macOS's /usr/bin/security in tests: see package standin. Its keychains are in the file beside
// the program, of its name with .json.
package main

import (
	"os"

	"minibot/secrets/security/securitytest/standin"
)

func main() {
	os.Exit(standin.Main(os.Args, os.Stdin, os.Stdout, os.Stderr)) //nolint:forbidigo // where a program ends
}
