package agefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"minibot/secrets"
)

// content is what a store file holds. A name in it has at least one slot that is set.
type content map[secrets.Name]secrets.Items

const (
	format  = "minibot-store"
	version = 1
)

var errVersion = errors.New("the store has a version that this program does not know")

// document is content as JSON, version 1:
//
//	{"format":"minibot-store","version":1,"secrets":{"NAME":{"current":{"value":"base64","changed":"2006-01-02T15:04:05.999999999Z"}}}}
type document struct {
	Format  string                               `json:"format"`
	Version int                                  `json:"version"`
	Secrets map[secrets.Name]map[string]cellJSON `json:"secrets"`
}

type cellJSON struct {
	Value   []byte    `json:"value"`
	Changed time.Time `json:"changed"`
}

func encode(c content) ([]byte, error) {
	doc := document{format, version, map[secrets.Name]map[string]cellJSON{}}
	for name, items := range c {
		cells := map[string]cellJSON{}
		for _, slot := range secrets.Slots {
			if item := items[slot]; !item.Value.IsZero() {
				cells[slot.String()] = cellJSON{item.Value.Reveal(), item.Changed}
			}
		}
		doc.Secrets[name] = cells
	}
	plain, err := json.Marshal(doc)
	for _, cells := range doc.Secrets {
		for _, cell := range cells {
			clear(cell.Value)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("encode the store: %w", err)
	}
	return plain, nil
}

// decode reads what encode wrote. Its errors wrap ErrDamaged or errVersion and quote nothing of plain.
func decode(plain []byte) (content, error) {
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if json.Unmarshal(plain, &head) != nil || head.Format != format {
		return nil, fmt.Errorf("%w: what it holds is not a minibot store", secrets.ErrDamaged)
	}
	if head.Version != version {
		return nil, fmt.Errorf("%w: %d, not %d", errVersion, head.Version, version)
	}
	var doc document
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.DisallowUnknownFields()
	if decoder.Decode(&doc) != nil {
		return nil, fmt.Errorf("%w: its content cannot be decoded", secrets.ErrDamaged)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows its content", secrets.ErrDamaged)
	}
	c := content{}
	for name, cells := range doc.Secrets {
		items, err := itemsOf(name, cells)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", secrets.ErrDamaged, err)
		}
		c[name] = items
	}
	return c, nil
}

func itemsOf(name secrets.Name, cells map[string]cellJSON) (items secrets.Items, err error) {
	if err := secrets.Check(name, secrets.Current); err != nil {
		return items, err
	}
	known := 0
	for _, slot := range secrets.Slots {
		cell, ok := cells[slot.String()]
		if !ok {
			continue
		}
		known++
		value, err := secrets.NewValue(cell.Value)
		clear(cell.Value)
		if err != nil {
			return items, fmt.Errorf("%s (%v): %w", name, slot, err)
		}
		items[slot] = secrets.Item{Value: value, Changed: cell.Changed.UTC()}
	}
	if known == 0 || known != len(cells) {
		return items, fmt.Errorf("%s has no slot or an unknown one", name)
	}
	return items, nil
}
