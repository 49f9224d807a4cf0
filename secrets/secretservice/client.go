package secretservice

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	keychain "github.com/keybase/go-keychain/secretservice"

	"github.com/keybase/dbus"

	"minibot/secrets"
)

type objectPath = dbus.ObjectPath

const (
	serviceAttribute = "service"
	accountAttribute = "account"
	schemaAttribute  = "xdg:schema" // says to libsecret and Seahorse what kind of item it is
	genericSchema    = "org.freedesktop.Secret.Generic"

	serviceInterface    = "org.freedesktop.Secret.Service"
	collectionInterface = "org.freedesktop.Secret.Collection"
	itemInterface       = "org.freedesktop.Secret.Item"
	properties          = "org.freedesktop.DBus.Properties"
)

func attributes(service string, name secrets.Name) map[string]string {
	return map[string]string{serviceAttribute: service, accountAttribute: string(name), schemaAttribute: genericSchema}
}

// client is one connection to the bus and one session with the service. It belongs to who holds the store's token.
type client struct {
	socket  net.Conn
	bus     *dbus.Conn
	session *keychain.Session // nil: none is open
}

// dial connects to the bus at address, and to nothing but a bus that is there already.
func dial(ctx context.Context, address string) (*client, error) {
	path, err := socketPath(address)
	if err != nil {
		return nil, noBus(err)
	}
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, noBus(cmp.Or(ctx.Err(), err))
	}
	// The library reads and writes without a context: its end ends the socket's patience.
	stop := context.AfterFunc(ctx, func() { _ = socket.SetDeadline(time.Unix(1, 0)) })
	bus, err := dbus.NewConn(buffered{socket, bufio.NewReader(socket)})
	if err != nil {
		stop()
		return nil, noBus(errors.Join(err, socket.Close()))
	}
	c := &client{socket: socket, bus: bus}
	if err := bus.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))}); err != nil {
		stop()
		c.close()
		return nil, noBus(cmp.Or(ctx.Err(), err))
	}
	err = bus.Hello()
	if !stop() || err != nil {
		c.close()
		return nil, noBus(cmp.Or(ctx.Err(), err))
	}
	return c, nil
}

// buffered spares the library, which reads a message in some fifty pieces, as many system calls.
type buffered struct {
	net.Conn
	from *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.from.Read(p) }

// socketPath is the first unix socket in a list of D-Bus addresses.
func socketPath(address string) (string, error) {
	if address == "" {
		return "", errors.New("DBUS_SESSION_BUS_ADDRESS is not set")
	}
	for one := range strings.SplitSeq(address, ";") {
		rest, ok := strings.CutPrefix(one, "unix:")
		if !ok {
			continue
		}
		for pair := range strings.SplitSeq(rest, ",") {
			key, value, _ := strings.Cut(pair, "=")
			plain, err := dbus.UnescapeBusAddressValue(value)
			switch {
			case err != nil || plain == "":
			case key == "path":
				return plain, nil
			case key == "abstract":
				return "@" + plain, nil
			}
		}
	}
	return "", fmt.Errorf("the bus address %q names no unix socket", address)
}

// cut makes everything under way on the connection fail.
func (c *client) cut() { _ = c.socket.Close() }

// close frees the connection. The service ends the session with it.
func (c *client) close() {
	c.cut()           // first: what is being written ends, for which the library's Close would wait
	_ = c.bus.Close() // closes the socket once more
}

// call calls a method of the service and stores its answer in out.
func (c *client) call(ctx context.Context, path objectPath, method string, args []any, out ...any) error {
	return c.bus.Object(keychain.SecretServiceInterface, path).CallWithContext(ctx, method, 0, args...).Store(out...)
}

// alias returns the default collection, or ErrNoStore.
func (c *client) alias(ctx context.Context) (path objectPath, err error) {
	err = c.call(ctx, keychain.SecretServiceObjectPath, serviceInterface+".ReadAlias", []any{"default"}, &path)
	if isGone(err) {
		return "", errNotOne // who owns the name is no Secret Service
	}
	if err == nil && path == keychain.NullPrompt {
		err = noCollection()
	}
	return path, err
}

// unlocked returns the default collection when it can be used without asking anybody.
func (c *client) unlocked(ctx context.Context) (objectPath, error) {
	path := keychain.DefaultCollection // no object where there is none, or where the service gives aliases no path
	locked, err := c.locked(ctx, path)
	if isGone(err) {
		if path, err = c.alias(ctx); err == nil {
			locked, err = c.locked(ctx, path)
		}
	}
	if err == nil && locked {
		err = errLocked()
	}
	return path, err
}

func (c *client) locked(ctx context.Context, collection objectPath) (locked bool, err error) {
	err = c.call(ctx, collection, properties+".Get", []any{collectionInterface, "Locked"}, &locked)
	return locked, err
}

// search returns the items that have all of want among their attributes, the one modified last first.
func (c *client) search(ctx context.Context, collection objectPath, want map[string]string) ([]item, error) {
	var paths []objectPath
	if err := c.call(ctx, collection, collectionInterface+".SearchItems", []any{want}, &paths); err != nil {
		return nil, err
	}
	var items []item
	for _, path := range paths {
		var all map[string]dbus.Variant
		err := c.call(ctx, path, properties+".GetAll", []any{itemInterface}, &all)
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		has, _ := all["Attributes"].Value().(map[string]string)
		if !matches(has, want) {
			continue
		}
		seconds, _ := all["Modified"].Value().(uint64)
		items = append(items, item{path, has[accountAttribute], time.Unix(int64(seconds), 0).UTC()})
	}
	slices.SortFunc(items, func(a, b item) int {
		return cmp.Or(b.modified.Compare(a.modified), cmp.Compare(a.path, b.path))
	})
	return items, nil
}

// matches does not leave it to the service what "match" means.
func matches(has, want map[string]string) bool {
	for key, value := range want {
		if has[key] != value {
			return false
		}
	}
	return true
}

// secret reads the value of an item. The caller clears it.
func (c *client) secret(ctx context.Context, path objectPath) ([]byte, error) {
	session, err := c.opened(ctx)
	if err != nil {
		return nil, err
	}
	var sealed keychain.Secret
	if err := c.call(ctx, path, itemInterface+".GetSecret", []any{session.Path}, &sealed); err != nil {
		return nil, err
	}
	return unseal(session.AESKey, sealed.Parameters, sealed.Value)
}

// setSecret replaces the value of an item.
func (c *client) setSecret(ctx context.Context, path objectPath, plain []byte) error {
	sealed, err := c.seal(ctx, plain)
	if err != nil {
		return err
	}
	return c.call(ctx, path, itemInterface+".SetSecret", []any{sealed})
}

// create adds an item, or replaces the value of the one that somebody has added meanwhile.
func (c *client) create(ctx context.Context, collection objectPath, label string, attributes map[string]string, plain []byte) (objectPath, error) {
	sealed, err := c.seal(ctx, plain)
	if err != nil {
		return "", err
	}
	var path, prompt objectPath
	args := []any{keychain.NewSecretProperties(label, attributes), sealed, true}
	if err := c.call(ctx, collection, collectionInterface+".CreateItem", args, &path, &prompt); err != nil {
		return "", err
	}
	return path, c.dismiss(ctx, prompt)
}

// remove deletes items, the last one first: until all are gone, the one that counts holds.
func (c *client) remove(ctx context.Context, items []item) error {
	for _, item := range slices.Backward(items) {
		var prompt objectPath
		err := c.call(ctx, item.path, itemInterface+".Delete", nil, &prompt)
		if isGone(err) {
			continue
		}
		if err == nil {
			err = c.dismiss(ctx, prompt)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dismiss answers ErrLocked when the service wants to ask a person before it does what it was told, and tells it not to.
func (c *client) dismiss(ctx context.Context, prompt objectPath) error {
	if prompt == keychain.NullPrompt {
		return nil
	}
	if err := c.call(ctx, prompt, "org.freedesktop.Secret.Prompt.Dismiss", nil); err != nil && !isGone(err) {
		return err
	}
	return errLocked()
}

// seal encrypts plain to the session.
func (c *client) seal(ctx context.Context, plain []byte) (keychain.Secret, error) {
	session, err := c.opened(ctx)
	if err != nil {
		return keychain.Secret{}, err
	}
	copied := slices.Clone(plain) // the library pads in place where there is room
	defer clear(copied)
	sealed, err := session.NewSecret(copied)
	if utf8.Valid(plain) {
		sealed.ContentType = "text/plain" // programs that show secrets show no other kind
	}
	return sealed, err
}
