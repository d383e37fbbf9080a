package ws

import "sync"

// assembly collects a message that is too large for the read buffer or comes
// in fragments. It grows with what has arrived and never with what a header
// announces: a header of ten bytes must not cost a megabyte.
type assembly struct {
	data  []byte
	class *bufferClass // where data came from; nil if from nowhere
	box   *[]byte
}

type bufferClass struct {
	size int
	pool sync.Pool
}

var bufferClasses = []*bufferClass{{size: 4 << 10}, {size: 16 << 10}, {size: 64 << 10}, {size: 256 << 10}, {size: 1 << 20}}

// readFrom appends n bytes of in and returns them.
func (a *assembly) readFrom(in *reader, n int) ([]byte, error) {
	start := len(a.data)
	for end := start + n; len(a.data) < end; {
		if len(a.data) == cap(a.data) {
			a.grow()
		}
		space := a.data[len(a.data):min(cap(a.data), end)]
		got, err := in.readDirect(space)
		if err != nil {
			return nil, err
		}
		a.data = a.data[:len(a.data)+got]
	}
	return a.data[start:], nil
}

// grow gives room for at least one byte more.
func (a *assembly) grow() {
	old := *a
	for _, class := range bufferClasses {
		if class.size > len(old.data) {
			box, ok := class.pool.Get().(*[]byte)
			if !ok {
				b := make([]byte, 0, class.size)
				box = &b
			}
			*a = assembly{data: append(*box, old.data...), class: class, box: box}
			old.release()
			return
		}
	}
	*a = assembly{data: append(make([]byte, 0, 2*len(old.data)), old.data...)}
	old.release()
}

func (a *assembly) release() {
	if a.class != nil {
		*a.box = a.data[:0]
		a.class.pool.Put(a.box)
	}
	*a = assembly{}
}
