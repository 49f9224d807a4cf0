//go:build (darwin && !ios && cgo) || secemu

package keychain

import (
	"errors"
	"strings"
	"time"

	native "github.com/keybase/go-keychain"

	"minibot/secrets/keychain/internal/lockstate"
)

// Available reports whether this build can use the keychain: on macOS, with cgo.
const Available = true

var errUnnamed = errors.New("an item needs a service and an account without NUL bytes")

// query is a generic password of a service. go-keychain takes an empty string for "any", and cuts one at a NUL byte, so that neither
// may reach it.
func query(service string) (native.Item, error) {
	if service == "" || strings.ContainsRune(service, 0) {
		return native.Item{}, errUnnamed
	}
	item := native.NewItem()
	item.SetSecClass(native.SecClassGenericPassword)
	item.SetService(service)
	return item, nil
}

// itemQuery is query for one account.
func itemQuery(service, account string) (native.Item, error) {
	item, err := query(service)
	if err != nil {
		return native.Item{}, err
	}
	if account == "" || strings.ContainsRune(account, 0) {
		return native.Item{}, errUnnamed
	}
	item.SetAccount(account)
	return item, nil
}

// lookUp reads one item with its value. A second item is never taken for it: service and account are its key.
func lookUp(service, account string) (entry, error) {
	item, err := itemQuery(service, account)
	if err != nil {
		return entry{}, err
	}
	item.SetMatchLimit(native.MatchLimitOne)
	item.SetReturnData(true)
	item.SetReturnAttributes(true)
	found, err := search(item)
	if err != nil {
		return entry{}, err
	}
	return found[0], nil
}

// attributes reads the items of a service without their values.
func attributes(service string) ([]entry, error) {
	item, err := query(service)
	if err != nil {
		return nil, err
	}
	item.SetMatchLimit(native.MatchLimitAll)
	item.SetReturnAttributes(true)
	return search(item)
}

// search returns at least one entry, or itemNotFound, which go-keychain does not call an error.
func search(item native.Item) ([]entry, error) {
	results, err := native.QueryItem(item)
	if err != nil {
		return nil, coded(err)
	}
	if len(results) == 0 {
		return nil, itemNotFound
	}
	entries := make([]entry, 0, len(results))
	for _, r := range results {
		entries = append(entries, entry{r.Account, r.Data, r.ModificationDate.UTC().Truncate(time.Second)})
	}
	return entries, nil
}

// update writes the data of an item that is there.
func update(service, account string, data []byte) error {
	item, err := itemQuery(service, account)
	if err != nil {
		return err
	}
	change := native.NewItem()
	change.SetData(data)
	return coded(native.UpdateItem(item, change))
}

// add makes an item that is not there, in the default keychain.
func add(service, account string, data []byte) error {
	item, err := itemQuery(service, account)
	if err != nil {
		return err
	}
	item.SetData(data)
	return coded(native.AddItem(item))
}

// remove deletes an item.
func remove(service, account string) error {
	item, err := itemQuery(service, account)
	if err != nil {
		return err
	}
	return coded(native.DeleteItem(item))
}

// unlocked reports whether the default keychain is unlocked.
func unlocked() (bool, error) {
	isUnlocked, code := lockstate.Unlocked()
	if code != 0 {
		return false, status(code)
	}
	return isUnlocked, nil
}

// coded turns go-keychain's number into a status.
func coded(err error) error {
	var code native.Error
	if errors.As(err, &code) {
		return status(code)
	}
	return err
}
