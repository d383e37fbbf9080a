package node

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/batch"
	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/lifecycle"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// The events of the default hub that belong to the node.
const (
	eventAck      = "ack"
	eventResponse = "response"
)

// maxAckIDs bounds the ids in one ack event.
const maxAckIDs = 1000

// Bounds of the answers on their way out. The database has them already, so
// one that does not fit only costs its waiter time.
const (
	maxReplies   = 1 << 14
	maxAnswers   = 1 << 16 // that wait to be stored
	replyWorkers = 32
	replyTimeout = 10 * time.Second
	answerDrain  = time.Second
)

// answers stores the answers of devices, in groups, and sends them to the
// clients that wait. All methods may be called from several goroutines.
type answers struct {
	core    *core.Core
	work    *lifecycle.Group
	group   *batch.Group[*answer]
	replies chan reply
}

type answer struct {
	store.Answer
	// queue is where the answer goes; flush looks in the row if it is empty.
	queue   string
	outcome store.AnswerOutcome
}

type reply struct {
	queue string
	broker.Answer
}

func newAnswers(c *core.Core) *answers {
	a := &answers{core: c, work: lifecycle.New(context.Background()), replies: make(chan reply, maxReplies)}
	a.group = batch.New(batch.Options{
		MaxBatch: stateBatch, MaxBytes: 4 << 20, Parallel: 2, Gather: 64,
		MaxWaiting: maxAnswers, Timeout: 30 * time.Second,
	}, a.flush)
	for range replyWorkers {
		a.work.Go(a.publish)
	}
	return a
}

func (a *answers) stop() {
	a.group.Close(answerDrain)
	a.work.Stop()
}

func (a *answers) flush(ctx context.Context, items []*answer, errs []error) {
	list := make([]store.Answer, len(items))
	for i, item := range items {
		list[i] = item.Answer
	}
	outcomes, err := a.core.Store.Answer(ctx, list)
	if errors.Is(err, store.ErrRejected) && len(items) > 1 {
		// One answer that the database refuses must not spoil the others.
		for i := range items {
			a.flush(ctx, items[i:i+1], errs[i:i+1])
		}
		return
	}
	for i := range items {
		if err != nil {
			errs[i] = err
			continue
		}
		items[i].outcome = outcomes[i]
	}
	if err == nil {
		a.findQueues(ctx, items)
	}
}

// findQueues reads where the answers go to commands that this node delivered
// before it knew that: see Node.noteQueue.
func (a *answers) findQueues(ctx context.Context, items []*answer) {
	unknown := map[string]*answer{}
	for _, item := range items {
		if item.outcome == store.AnswerWon && item.queue == "" {
			unknown[item.ID] = item
		}
	}
	if len(unknown) == 0 {
		return
	}
	rows, err := a.core.Store.GetMany(ctx, slices.Collect(maps.Keys(unknown)))
	if err != nil {
		a.core.Log.Warn("answers may not be sent, their waiters find them in the database", "count", len(unknown), "error", err)
	}
	for _, row := range rows {
		unknown[row.ID].queue = row.ResponseQueue
	}
}

// record stores an answer. If it is the first one in time, the client that
// waits gets it: only then, so that what it sees is what the row says.
func (a *answers) record(ctx context.Context, id, requestID, queue string, response json.RawMessage) error {
	item := &answer{Answer: store.Answer{ID: id, Response: response, At: a.core.Store.Now()}, queue: queue}
	if _, err := a.group.Do(ctx, item, len(response)); err != nil {
		if errors.Is(err, batch.ErrFull) {
			a.core.Metrics.Overflow(telemetry.QueueAnswers)
		}
		return err
	}
	if item.outcome == store.AnswerWon && item.queue != "" {
		a.reply(id, item.queue, broker.Answer{CorrelationID: requestID, Body: response, Trace: a.core.Tracer.Of(ctx)})
	}
	return nil
}

// reply hands an answer to the client that waits, if that is this process's own,
// or queues it on its way there.
func (a *answers) reply(id, queue string, answer broker.Answer) {
	if a.core.Answered(queue, answer) {
		return
	}
	select {
	case a.replies <- reply{queue, answer}:
	default:
		a.core.Metrics.Overflow(telemetry.QueueReplies)
		a.core.Log.Warn("answer not sent, its waiter finds it in the database", "message_id", id)
	}
}

func (a *answers) publish(ctx context.Context) {
	for {
		select {
		case r := <-a.replies:
			bounded, cancel := context.WithTimeout(ctx, replyTimeout)
			if err := a.core.Broker.Reply(bounded, r.queue, r.Answer); err != nil {
				a.core.Log.Warn("answer not sent, its waiter finds it in the database", "request_id", r.CorrelationID, "error", err)
			}
			cancel()
		case <-ctx.Done():
			return
		}
	}
}

// ackEvent handles the event "ack": {"ids":[…]}.
func (s *session) ackEvent(ctx context.Context, data protocol.Data) error {
	var body struct {
		IDs []string `json:"ids"`
	}
	if err := decodeEvent(data, &body); err != nil {
		return err
	}
	if len(body.IDs) > maxAckIDs {
		return &requestError{ackBadRequest, "too many ids"}
	}
	unknown := s.user.acknowledgeIDs(s, body.IDs)
	if len(unknown) == 0 {
		return nil
	}
	// Not in flight here: delivered over another connection or node. The row
	// says whose it is.
	rows, err := s.node.core.Store.GetMany(ctx, unknown)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.UserID == s.userID {
			s.node.states.acknowledge(row.ID, row.DeliveringAt, row.PushType, telemetry.None)
			s.node.acknowledgedAfter(row.PushType, row.CreatedAt)
		}
	}
	return nil
}

// responseEvent handles the event "response": {"requestId":"…","data":…} or
// {"requestId":"…","error":{"code":"…","message":"…"}}.
func (s *session) responseEvent(ctx context.Context, data protocol.Data) error {
	var body struct {
		RequestID string            `json:"requestId"`
		Data      json.RawMessage   `json:"data"`
		Error     *wire.DeviceError `json:"error"`
	}
	if err := decodeEvent(data, &body); err != nil {
		return err
	}
	if body.RequestID == "" {
		return &requestError{ackBadRequest, "requestId is missing"}
	}
	response := body.Data
	switch {
	case body.Error != nil:
		response = body.Error.Encode()
	case response == nil:
		response = json.RawMessage("null")
	}
	if s.node.states.over(body.RequestID) {
		return nil // the first answer won
	}
	d, queue := s.user.command(body.RequestID)
	var id string
	if d != nil {
		id = d.hint.ID
	} else {
		row, err := s.node.core.Store.FindCommand(ctx, s.userID, body.RequestID)
		if errors.Is(err, store.ErrNotFound) {
			return &requestError{ackNotFound, "no unanswered command of this user has this requestId"}
		}
		if err != nil {
			return err
		}
		id, queue = row.ID, row.ResponseQueue
	}
	ctx, span := s.traceAnswer(ctx, d, id)
	err := s.node.answers.record(ctx, id, body.RequestID, queue, response)
	telemetry.End(span, "store", err)
	if errors.Is(err, store.ErrRejected) {
		return &requestError{ackBadRequest, "the database refuses the answer"}
	}
	if err != nil {
		return err
	}
	s.node.states.finished(id)
	s.node.states.finished(body.RequestID)
	if d != nil {
		s.user.forget(d)
	}
	return nil
}

// decodeEvent reads the JSON object of an event of the node's own, sent as JSON
// or as text.
func decodeEvent(data protocol.Data, v any) error {
	if data.Type != protocol.JSON && data.Type != protocol.Text {
		return &requestError{ackBadRequest, "the event must be JSON"}
	}
	if err := json.Unmarshal(data.Bytes, v); err != nil {
		return &requestError{ackBadRequest, "the event is not the JSON object that it must be"}
	}
	return nil
}
