package console

import (
	"context"
	"time"
)

// Source is what a console shows of its node. Package node implements it, and
// hands it to New; it grows with what the console shows. All methods may be
// called from several goroutines.
type Source interface {
	// Node describes this node at this moment.
	Node() Node
	// Nodes counts the nodes of the cluster.
	Nodes(ctx context.Context) (int, error)
	// Count counts the connections of a hub on all nodes; with a group, those
	// in the group.
	Count(ctx context.Context, hub, group string) (int, error)
	// Hubs, Connections, Users and Groups list what this node holds, in order
	// of their names or ids. Nothing they return is longer than Query.Limit.
	Hubs(limit int) []Hub
	Connections(q Query) []Connection
	Users(q Query) []User
	Groups(q Query) []Group
}

// Query selects a page of a list.
type Query struct {
	// Hub is the hub, in any case.
	Hub string
	// User, for connections, shows only those of this user.
	User string
	// After is the name or id of the last entry of the page before.
	After string
	// Limit is the size of the page.
	Limit int
}

// Node describes a node.
type Node struct {
	ID string `json:"id"`
	// Since is when it was started.
	Since time.Time `json:"since"`
	// Connections are those of all hubs, those that may still be recovered
	// among them.
	Connections int `json:"connections"`
	// In counts the WebSocket messages that devices sent since then; Out the
	// messages that were handed to connections: not acknowledgements and pongs,
	// and not the repetitions of a recovery.
	In  int64 `json:"in"`
	Out int64 `json:"out"`
}

// Hub is a hub that has connections on this node.
type Hub struct {
	Name        string `json:"name"`
	Connections int    `json:"connections"`
	Users       int    `json:"users"`
	Groups      int    `json:"groups"`
}

// Connection is a connection on this node.
type Connection struct {
	ID string `json:"id"`
	// UserID is empty for an anonymous one.
	UserID string `json:"userId"`
	Hub    string `json:"hub"`
	// Subprotocol is empty for a connection without.
	Subprotocol string `json:"subprotocol"`
	// Since is when it was accepted, by the first node that held it.
	Since time.Time `json:"since"`
	// State is "live", "opening", or "away": its socket broke and it may be
	// recovered.
	State string `json:"state"`
	// Groups is how many groups it is in.
	Groups int `json:"groups"`
	// Unacknowledged is how many frames wait for a sequenceAck.
	Unacknowledged int `json:"unacknowledged"`
}

// User is a user with connections on this node.
type User struct {
	ID          string `json:"id"`
	Connections int    `json:"connections"`
}

// Group is a group with connections on this node.
type Group struct {
	Name        string `json:"name"`
	Connections int    `json:"connections"`
}
