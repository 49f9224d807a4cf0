package secrets

// sealed keeps a value out of the reach of fmt, which calls no methods of what lies in an unexported field but prints
// what it finds there. It follows one pointer at most (for a verb that it deems wrong for pointers); behind two, it
// prints an address.
type sealed[T any] struct{ at **T }

func seal[T any](content T) sealed[T] {
	p := &content
	return sealed[T]{&p}
}

// open returns the content, or the zero T for a zero sealed.
func (s sealed[T]) open() (content T) {
	if s.at == nil {
		return content
	}
	return **s.at
}
