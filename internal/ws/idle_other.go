//go:build !linux

package ws

// Elsewhere each idle connection has a goroutine.

var idlers idle

type (
	idle  struct{}
	idler struct{}
)

func (idle) park(*Conn) bool { return false }
func (idle) wake(*Conn)      {}
func (idle) leave(*Conn)     {}
