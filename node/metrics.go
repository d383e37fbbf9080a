package node

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// kinds are the attributes of stored messages.
var kinds = map[wire.PushType]telemetry.Attributes{
	wire.Reliable: telemetry.With(attribute.String("kind", "reliable")),
	wire.Command:  telemetry.With(attribute.String("kind", "command")),
}

// classes are the attributes of connections. Hubs are many, and devices name
// them; so only the default one has a value of its own.
var classes = func() map[bool]map[protocol.Subprotocol]telemetry.Attributes {
	all := map[bool]map[protocol.Subprotocol]telemetry.Attributes{}
	for isDefault, hub := range map[bool]string{true: "default", false: "other"} {
		all[isDefault] = map[protocol.Subprotocol]telemetry.Attributes{}
		for sub, name := range map[protocol.Subprotocol]string{
			protocol.Simple: "none", protocol.JSONv1: "json", protocol.JSONReliableV1: "json_reliable",
			protocol.ProtobufV1: "protobuf", protocol.ProtobufReliableV1: "protobuf_reliable",
		} {
			all[isDefault][sub] = telemetry.With(attribute.String("hub", hub), attribute.String("subprotocol", name))
		}
	}
	return all
}()

// class are the attributes of the session in metrics.
func (s *session) class() telemetry.Attributes {
	return classes[s.hubKey == hubKey(s.node.core.DefaultHub)][s.sub]
}

// Outcomes of recoveries.
const (
	recoveryHere       = "same_node"
	recoveryMoved      = "other_node"
	recoveryToken      = "token"      // not a token for this connection
	recoveryLate       = "late"       // the connection was over
	recoveryUnknown    = "unknown"    // no node has it
	recoveryUnanswered = "unanswered" // its node does not answer
	recoveryError      = "error"      // the bus
)

var recoveryOutcomes = func() map[string]telemetry.Attributes {
	all := map[string]telemetry.Attributes{}
	for _, outcome := range []string{
		recoveryHere, recoveryMoved, recoveryToken, recoveryLate, recoveryUnknown, recoveryUnanswered, recoveryError,
	} {
		all[outcome] = telemetry.With(attribute.String("outcome", outcome))
	}
	return all
}()

func recoveryFailure(err error) string {
	switch {
	case errors.Is(err, control.ErrUnanswered):
		return recoveryUnanswered
	case errors.Is(err, errNotRecoverable):
		return recoveryUnknown
	default:
		return recoveryError
	}
}

// requestReasons name the refusals of requests in metrics.
var requestReasons = map[string]string{
	ackDuplicate: "request_duplicate", ackForbidden: "request_forbidden", ackBadRequest: "request_bad",
	ackNotFound: "request_not_found", ackInternalError: "request_failed",
}

func requestReason(name string) string {
	if reason, ok := requestReasons[name]; ok {
		return reason
	}
	return "request_other"
}

// acknowledgedAfter records how long a message took from its send, by the clock
// of the database, to its acknowledgement.
func (n *Node) acknowledgedAfter(kind wire.PushType, sentAt time.Time) {
	took := max(n.core.Store.Now().Sub(sentAt), 0)
	n.core.Metrics.AcknowledgeDuration.Record(context.Background(), took.Seconds(), kinds[kind].Record...)
}

// watch reports the queues of the node.
func (n *Node) watch() error {
	for _, begin := range []func() (func(), error){
		func() (func(), error) { return n.core.Metrics.Watch(n.queues()) },
		func() (func(), error) { return n.core.Metrics.WatchDevices(n.devices) },
	} {
		stop, err := begin()
		if err != nil {
			return err
		}
		n.unwatch = append(n.unwatch, stop)
	}
	return nil
}

func (n *Node) queues() []telemetry.Queue {
	deliveries := func() int { d, _ := n.states.backlog(); return d }
	acknowledgements := func() int { _, a := n.states.backlog(); return a }
	queues := append(n.publisher.Queues(),
		telemetry.Queue{Name: telemetry.QueueDeliveries, Length: deliveries, Limit: telemetry.Bound(maxStates)},
		telemetry.Queue{Name: telemetry.QueueAcknowledgements, Length: acknowledgements, Limit: telemetry.Bound(maxStates)},
		telemetry.Queue{Name: telemetry.QueueAnswers, Length: n.answers.group.Waiting, Limit: telemetry.Bound(maxAnswers)},
		telemetry.Queue{Name: telemetry.QueueReplies, Length: func() int { return len(n.answers.replies) }, Limit: telemetry.Bound(maxReplies)},
		telemetry.Queue{
			Name: telemetry.QueueCalls, Length: func() int { return len(n.calls) + int(n.later.Load()) }, Limit: telemetry.Bound(2 * maxCalls),
		},
	)
	if n.opts.MaxConnections > 0 {
		queues = append(queues, telemetry.Queue{
			Name: telemetry.QueueConnections, Length: n.Connections, Limit: telemetry.Bound(n.opts.MaxConnections),
		})
	}
	return queues
}

// devices looks at what waits for each connection. It is called when metrics
// are collected.
func (n *Node) devices() (all telemetry.Devices) {
	n.sessions.each(func(s *session) {
		frames, bytes := s.queued()
		all.Frames += frames
		all.Bytes += bytes
		fill := max(float64(frames)/float64(n.opts.MaxQueue), float64(bytes)/float64(n.opts.MaxQueueBytes))
		all.Fullest = max(all.Fullest, min(fill, 1))
	})
	return all
}

// queued is what the device of a session has not taken: frames without
// sequenceAck, or, without a reliable subprotocol, what is not written.
func (s *session) queued() (frames, bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.sub.Reliable():
		return len(s.out.frames), s.out.bytes
	case s.conn != nil:
		return s.conn.Backlog()
	default:
		return 0, 0
	}
}
