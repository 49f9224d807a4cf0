//go:build linux

package keyringtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/keybase/dbus"
)

const (
	name                        = "org.freedesktop.secrets"
	service     dbus.ObjectPath = "/org/freedesktop/secrets"
	noPrompt    dbus.ObjectPath = "/"
	propertyGet                 = "org.freedesktop.DBus.Properties.Get"
)

// secret is what the Secret Service calls one: session, parameters, value, content type.
type secret struct {
	Session           dbus.ObjectPath
	Parameters, Value []byte
	ContentType       string
}

func (s *Session) connect() {
	s.t.Helper()
	var err error
	s.conn, err = dbus.Connect(s.address)
	s.must(err)
	s.owners = make(chan *dbus.Signal, 64)
	s.conn.Signal(s.owners)
	s.must(s.conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"), dbus.WithMatchMember("NameOwnerChanged"),
		dbus.WithMatchArg(0, name)))
	s.reads = s.monitor("type='method_call',member='GetSecret'", "type='method_call',member='GetSecrets'")
}

func (s *Session) disconnect() {
	if s.conn != nil {
		_ = s.conn.Close() // the bus may be gone
		s.reads.close()
		s.conn = nil
	}
}

// awaitOwner waits until somebody keeps secrets on the bus, or nobody.
func (s *Session) awaitOwner(want bool) {
	s.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		var has bool
		s.must(s.conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, name).Store(&has))
		if has == want {
			return
		}
		select {
		case <-s.owners:
		case <-late.C:
			s.t.Fatalf("after %v: %s has an owner: %v, want %v", patience, name, has, want)
		}
	}
}

// call calls a method of the keyring.
func (s *Session) call(path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	ctx, cancel := context.WithTimeout(s.ctx(), patience)
	defer cancel()
	return s.conn.Object(name, path).CallWithContext(ctx, method, 0, args...)
}

func (s *Session) collection() (path dbus.ObjectPath) {
	s.t.Helper()
	s.must(s.call(service, "org.freedesktop.Secret.Service.ReadAlias", "default").Store(&path))
	if path == noPrompt {
		s.t.Fatal("the keyring has no default collection")
	}
	return path
}

func (s *Session) locked() (locked bool) {
	s.t.Helper()
	s.must(s.call(s.collection(), propertyGet, "org.freedesktop.Secret.Collection", "Locked").Store(&locked))
	return locked
}

// Lock locks the default collection.
func (s *Session) Lock() {
	s.t.Helper()
	s.must(s.call(service, "org.freedesktop.Secret.Service.Lock", []dbus.ObjectPath{s.collection()}).Err)
	if !s.locked() {
		s.t.Fatal("the keyring stays unlocked")
	}
}

// Unlock unlocks the default collection, as its password at a prompt does.
func (s *Session) Unlock() {
	s.t.Helper()
	var none dbus.Variant
	var session dbus.ObjectPath
	s.must(s.call(service, "org.freedesktop.Secret.Service.OpenSession", "plain", dbus.MakeVariant("")).Store(&none, &session))
	master := secret{session, nil, []byte(password), "text/plain"}
	s.must(s.call(service, "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface.UnlockWithMasterPassword", s.collection(), master).Err)
	s.must(s.call(session, "org.freedesktop.Secret.Session.Close").Err)
	if s.locked() {
		s.t.Fatal("the keyring stays locked")
	}
}

// monitor sees every message on the bus that matches one of its rules, or every message when there are none.
type monitor struct {
	conn  *dbus.Conn
	seen  chan *dbus.Message
	count int
	marks int
}

func (s *Session) monitor(rules ...string) *monitor {
	s.t.Helper()
	conn, err := dbus.Connect(s.address)
	s.must(err)
	m := &monitor{conn: conn, seen: make(chan *dbus.Message, 1<<16)}
	s.must(conn.BusObject().Call("org.freedesktop.DBus.Monitoring.BecomeMonitor", 0, append([]string{}, rules...), uint32(0)).Err)
	conn.Eavesdrop(m.seen)
	return m
}

// close ends what is seen first: the library closes its channel and may still send on it.
func (m *monitor) close() {
	m.conn.Eavesdrop(nil)
	_ = m.conn.Close() // the bus may be gone
}

// Reads tells how often the value of an item was asked for since the bus was started.
func (s *Session) Reads() int {
	s.t.Helper()
	m := s.reads
	m.marks++
	// A message of ours comes after all that went over the bus so far.
	mark := dbus.ObjectPath(fmt.Sprintf("/mark/%d", m.marks))
	s.conn.Object(name, mark).Go("org.freedesktop.Secret.Item.GetSecret", 0, nil, service)
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case message, ok := <-m.seen:
			if !ok {
				s.t.Fatal("the bus no longer shows its messages")
			}
			if message.Headers[dbus.FieldPath].Value() == mark {
				return m.count
			}
			m.count++
		case <-late.C:
			s.t.Fatalf("the bus shows no message within %v", patience)
		}
	}
}

// Listen returns every message that went over the bus while during ran, one after another as they were sent.
func (s *Session) Listen(during func()) []byte {
	s.t.Helper()
	m := s.monitor()
	defer m.close()
	during()
	mark := dbus.ObjectPath("/mark/listen")
	s.conn.Object(name, mark).Go("org.freedesktop.DBus.Peer.Ping", 0, nil)
	late := time.NewTimer(patience)
	defer late.Stop()
	var all bytes.Buffer
	for {
		select {
		case message, ok := <-m.seen:
			if !ok {
				s.t.Fatal("the bus no longer shows its messages")
			}
			if message.Headers[dbus.FieldPath].Value() == mark {
				return all.Bytes()
			}
			s.must(message.EncodeTo(&all, binary.LittleEndian))
		case <-late.C:
			s.t.Fatalf("the bus shows no message within %v", patience)
		}
	}
}
