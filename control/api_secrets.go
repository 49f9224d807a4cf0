package control

import (
	"context"
	"net/http"

	"minibot/secrets"
)

func (a *api) change(life context.Context, w http.ResponseWriter, r *http.Request) {
	var order ChangeOrder
	err := decode(r.Body, &order)
	if err == nil {
		err = order.check()
	}
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	order.By = a.redact.Text(order.By)
	a.stream(life, w, r, "change", func(ctx context.Context, report func(Progress)) error {
		defer order.wipe()
		return a.backend.Change(ctx, order, report)
	})
}

func (a *api) rotate(life context.Context, w http.ResponseWriter, r *http.Request) {
	var rotation Rotation
	err := decode(r.Body, &rotation)
	if err == nil {
		err = rotation.check()
	}
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	rotation.By = a.redact.Text(rotation.By)
	a.stream(life, w, r, "rotation", func(ctx context.Context, report func(Progress)) error {
		return a.backend.Rotate(ctx, rotation, report)
	})
}

func (a *api) plan(w http.ResponseWriter, r *http.Request) {
	rotation, err := parseRotation(r)
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	plan, err := a.backend.Plan(r.Context(), rotation)
	a.answer(w, plan, reasonOf(r.Context(), err))
}

func (a *api) history(w http.ResponseWriter, r *http.Request) {
	q, err := parseQuery(r, "name")
	if err != nil {
		a.answer(w, nil, err)
		return
	}
	receipts, err := a.backend.History(r.Context(), q.name)
	if receipts == nil {
		receipts = []Receipt{}
	}
	a.answer(w, receipts, reasonOf(r.Context(), err))
}

// parseFilter reads a name that may be empty.
func parseFilter(text string) (secrets.Name, error) {
	if text == "" {
		return "", nil
	}
	return secrets.ParseName(text)
}
