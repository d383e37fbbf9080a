package ws

// queue holds the frames a connection has yet to write, in order. Exactly one
// flusher takes from it at a time; all access is under the mutex of the Conn.
type queue struct {
	frames []Frame
	next   int  // frames[:next] are written
	off    int  // bytes of frames[next] that are written
	taken  int  // bytes after off that the flusher is writing just now
	bytes  int  // bytes of all that is not written
	ping   bool // one of the frames is a ping
}

// A connection has a queue only while it has something to write.
var queues pool[queue]

// recycle empties the queue and gives it back. Grown ones are left to the
// collector, or a burst would be paid for long after it.
func (q *queue) recycle() {
	if cap(q.frames) > 64 {
		return
	}
	clear(q.frames)
	*q = queue{frames: q.frames[:0]}
	queues.Put(q)
}

func (q *queue) len() int { return len(q.frames) - q.next }

func (q *queue) push(f Frame) {
	if len(q.frames) == cap(q.frames) && q.next > len(q.frames)/2 {
		// Reuse the written half instead of growing for ever.
		n := copy(q.frames, q.frames[q.next:])
		clear(q.frames[n:])
		q.frames, q.next = q.frames[:n], 0
	}
	q.frames = append(q.frames, f)
	q.bytes += f.Len()
	q.ping = q.ping || f.isPing()
}

// chunk returns the next bytes to write: straight from the memory of the frame
// where that gives one good write, else small frames joined in buf. The caller
// then calls advance.
func (q *queue) chunk(buf []byte) []byte {
	piece := q.frames[q.next].from(q.off)
	if len(piece) >= len(buf) || len(piece) == q.bytes {
		q.taken = min(len(piece), maxDirect)
		return piece[:q.taken]
	}
	n, off := 0, q.off
	for i := q.next; i < len(q.frames) && n < len(buf); i++ {
		f := q.frames[i]
		for off < f.Len() && n < len(buf) {
			c := copy(buf[n:], f.from(off))
			n, off = n+c, off+c
		}
		off = 0
	}
	q.taken = n
	return buf[:n]
}

// advance notes that n bytes of the last chunk are written.
func (q *queue) advance(n int) {
	q.bytes -= n
	q.taken = 0
	for n > 0 {
		left := q.frames[q.next].Len() - q.off
		if n < left {
			q.off += n
			return
		}
		n -= left
		if q.frames[q.next].isPing() {
			q.ping = false
		}
		q.frames[q.next] = Frame{} // the memory is free as soon as it is written
		q.next, q.off = q.next+1, 0
	}
}

// dropUnsent forgets every frame of which no byte is written or being written.
func (q *queue) dropUnsent() {
	keep := q.next
	for begun := q.off + q.taken; begun > 0; keep++ {
		begun -= q.frames[keep].Len()
	}
	for _, f := range q.frames[keep:] {
		q.bytes -= f.Len()
	}
	clear(q.frames[keep:])
	q.frames = q.frames[:keep]
}
