package node

// ackCache remembers the ackIds of the requests that succeeded last, so that a
// request that a device repeats is not executed again (specification, section
// 3.5). It takes no memory until it is used.
type ackCache struct {
	seen map[uint64]struct{}
	ring []uint64
	at   int
}

func (c *ackCache) has(id uint64) bool {
	_, ok := c.seen[id]
	return ok
}

// add remembers an id, and forgets the oldest one beyond limit.
func (c *ackCache) add(id uint64, limit int) {
	if c.seen == nil {
		c.seen = map[uint64]struct{}{}
	}
	if c.has(id) {
		return
	}
	if len(c.ring) < limit {
		c.ring = append(c.ring, id)
	} else {
		delete(c.seen, c.ring[c.at])
		c.ring[c.at] = id
		c.at = (c.at + 1) % len(c.ring)
	}
	c.seen[id] = struct{}{}
}
