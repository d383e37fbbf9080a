// Package wire holds the names and formats that this library shares with the
// SDKs and gateways of other makes, and the few that are ours alone.
//
// The contract: realtime messages are published on Redis, reliable messages
// and commands are rows of the table push_messages, and RabbitMQ carries
// notifications and answers. Names that only our own processes use are marked
// "ours".
package wire

import (
	"strings"
	"time"
)

// Names on RabbitMQ.
const (
	// Exchange is the durable direct exchange that carries notifications.
	Exchange = "ws.message.direct.exchange"
	// RoutingKey routes a notification from Exchange to the gateways.
	RoutingKey = "ws.message.direct"
	// NotificationQueue is the durable queue that our nodes consume together
	// (ours: a gateway of another make binds a queue of its own).
	NotificationQueue = "ws.message.gateway.node"
	// ReplyQueuePrefix starts the name of the reply queue of a client (ours).
	ReplyQueuePrefix = "ws.message.gateway.reply."
)

// Table is the MySQL table that holds reliable messages and commands.
const Table = "push_messages"

// DefaultRetryInterval is the time between two deliveries of a message that no
// device acknowledged, where its row names none.
const DefaultRetryInterval = 60 * time.Second

// PushType tells a reliable message from a command in the column push_type.
type PushType int

// The values of push_type.
const (
	Reliable PushType = 1
	Command  PushType = 2
)

// Status is the state of a row in the column status.
type Status string

// The values of status. A row is unfinished in the first three.
const (
	Pending          Status = "PENDING"
	Delivering       Status = "DELIVERING"
	RequestDelivered Status = "REQUEST_DELIVERED"
	Finished         Status = "FINISHED"
	TimedOut         Status = "TIMED_OUT"
)

// Unfinished reports whether a row in this state still waits for a device.
func (s Status) Unfinished() bool {
	return s == Pending || s == Delivering || s == RequestDelivered
}

// Names builds the names on Redis and RabbitMQ. The zero value gives the names
// of the contract. The prefixes are ours: they separate installations (and
// tests) that share a server, and cut the tie to SDKs that do not know them.
type Names struct {
	RedisPrefix  string
	RabbitPrefix string
}

const (
	realtimePrefix = "realtime:user:"
	deliverPrefix  = "deliver:user:"
	seqPrefix      = "seq:user:"
)

// Realtime is the Redis channel of a user's realtime messages.
func (n Names) Realtime(userID string) string { return n.RedisPrefix + realtimePrefix + userID }

// Deliver is the Redis channel of the hints about a user's stored messages (ours).
func (n Names) Deliver(userID string) string { return n.RedisPrefix + deliverPrefix + userID }

// Seq is the Redis key of a user's sequence counter.
func (n Names) Seq(userID string) string { return n.RedisPrefix + seqPrefix + userID }

// RealtimePrefix and DeliverPrefix start the channels of all users; the rest
// of a channel's name is the user id, whatever characters it has.
func (n Names) RealtimePrefix() string { return n.RedisPrefix + realtimePrefix }

// DeliverPrefix starts the delivery channels of all users.
func (n Names) DeliverPrefix() string { return n.RedisPrefix + deliverPrefix }

// Lock is the Redis key of a lock that one node at a time holds (ours).
func (n Names) Lock(name string) string { return n.RedisPrefix + "gateway:lock:" + name }

// Exchange is the exchange of notifications.
func (n Names) Exchange() string { return n.RabbitPrefix + Exchange }

// NotificationQueue is the queue that our nodes consume together.
func (n Names) NotificationQueue() string { return n.RabbitPrefix + NotificationQueue }

// ReplyQueue is the reply queue of the client instance with this id.
func (n Names) ReplyQueue(instance string) string {
	return n.RabbitPrefix + ReplyQueuePrefix + instance
}

// Channels of hubs (ours). Hub names are compared without regard to case, so
// callers pass them in lower case; they hold no colon. Who is connected, who is
// in a group, and whether a connection exists is who is subscribed.
const hubPrefix = "hub:"

// HubPrefix starts the channels of all hubs.
func (n Names) HubPrefix() string { return n.RedisPrefix + hubPrefix }

// HubAll is the channel of everyone in a hub.
func (n Names) HubAll(hub string) string { return n.RedisPrefix + hubPrefix + hub + ":all" }

// HubUser is the channel of a user's connections in a hub.
func (n Names) HubUser(hub, userID string) string {
	return n.RedisPrefix + hubPrefix + hub + ":user:" + userID
}

// HubGroup is the channel of a group.
func (n Names) HubGroup(hub, group string) string {
	return n.RedisPrefix + hubPrefix + hub + ":group:" + group
}

// HubConnection is the channel of one connection.
func (n Names) HubConnection(hub, connectionID string) string {
	return n.RedisPrefix + hubPrefix + hub + ":connection:" + connectionID
}

// Replies is the channel on which a process hears the answers of nodes.
func (n Names) Replies(instance string) string { return n.RedisPrefix + "gateway:replies:" + instance }

// Nodes is the channel that every node is subscribed to.
func (n Names) Nodes() string { return n.RedisPrefix + "gateway:nodes" }

// HubChannel is the meaning of a hub's channel.
type HubChannel struct {
	Hub  string
	Kind HubTarget
	// ID is the user, group or connection; empty for TargetAll.
	ID string
}

// HubTarget says whom a channel reaches.
type HubTarget string

// The targets.
const (
	TargetAll        HubTarget = "all"
	TargetUser       HubTarget = "user"
	TargetGroup      HubTarget = "group"
	TargetConnection HubTarget = "connection"
)

// ParseHubChannel is the inverse of the functions above.
func (n Names) ParseHubChannel(channel string) (HubChannel, bool) {
	rest, ok := strings.CutPrefix(channel, n.HubPrefix())
	if !ok {
		return HubChannel{}, false
	}
	hub, rest, ok := strings.Cut(rest, ":")
	if !ok {
		return HubChannel{}, false
	}
	kind, id, _ := strings.Cut(rest, ":")
	return HubChannel{Hub: hub, Kind: HubTarget(kind), ID: id}, true
}
