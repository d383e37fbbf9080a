package console

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

const (
	// messagePage is smaller than other pages: payloads may be large.
	messagePage = 20
	// preview is how many bytes of a payload or an answer are shown.
	preview = 4 << 10
	// maxUser is the longest user id that is looked up, in bytes; no column
	// takes more.
	maxUser = 1024
)

// messageView is a stored message as the page shows it; times that have not
// happened are null.
type messageView struct {
	ID     string `json:"id"`
	UserID string `json:"userId"`
	Kind   string `json:"kind"`
	// Type is the type of a command.
	Type       string   `json:"type,omitempty"`
	Status     string   `json:"status"`
	Seq        int64    `json:"seq"`
	SenderType string   `json:"senderType"`
	SenderID   string   `json:"senderId"`
	Payload    excerpt  `json:"payload"`
	Response   *excerpt `json:"response"`
	// Failed says that the answer is an error of the device.
	Failed             bool       `json:"failed,omitempty"`
	CreatedAt          *time.Time `json:"createdAt"`
	DeliveringAt       *time.Time `json:"deliveringAt"`
	RequestDeliveredAt *time.Time `json:"requestDeliveredAt"`
	FinishedAt         *time.Time `json:"finishedAt"`
	ExpiresAt          *time.Time `json:"expiresAt"`
}

// excerpt is the beginning of a JSON value.
type excerpt struct {
	Text string `json:"text"`
	// Bytes is the size of the whole.
	Bytes int `json:"bytes"`
}

func excerptOf(raw json.RawMessage) excerpt {
	e := excerpt{Text: string(raw), Bytes: len(raw)}
	if len(raw) > preview {
		end := preview
		for end > 0 && !utf8.RuneStart(raw[end]) {
			end--
		}
		e.Text = string(raw[:end])
	}
	return e
}

func viewOf(m *gateway.Message) messageView {
	v := messageView{
		ID: m.ID, UserID: m.UserID, Kind: m.Kind.String(), Status: string(m.Status), Seq: m.Seq,
		SenderType: m.SenderType, SenderID: m.SenderID,
		CreatedAt: happened(m.CreatedAt), DeliveringAt: happened(m.DeliveringAt),
		RequestDeliveredAt: happened(m.RequestDeliveredAt), FinishedAt: happened(m.FinishedAt), ExpiresAt: happened(m.ExpiresAt),
	}
	payload := m.Payload
	if m.Kind == gateway.KindCommand {
		var c wire.CommandPayload
		if json.Unmarshal(payload, &c) == nil && c.Type != "" {
			v.Type, payload = c.Type, c.Data
		}
	}
	v.Payload = excerptOf(payload)
	if m.Response != nil {
		answer := excerptOf(m.Response)
		v.Response = &answer
		_, v.Failed = wire.ParseDeviceError(m.Response)
	}
	return v
}

func happened(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// message is one stored message, wherever it is.
func (h *Handler) message(ctx context.Context, r *http.Request) (any, error) {
	m, err := h.client.Message(ctx, r.URL.Query().Get("id"))
	if err != nil {
		return nil, err
	}
	return viewOf(m), nil
}

// userMessages is a page of a user's messages.
type userMessages struct {
	UserID string `json:"userId"`
	// Online says whether the user has a connection on any node, in the default
	// hub.
	Online bool `json:"online"`
	list[messageView]
}

// messages lists what waits for a user, oldest first, or everything that is
// stored, newest first.
func (h *Handler) messages(ctx context.Context, r *http.Request) (any, error) {
	values := r.URL.Query()
	user := values.Get("user")
	if user == "" || len(user) > maxUser || !utf8.ValidString(user) {
		return nil, badRequest("The user id is empty or not valid.")
	}
	online, err := h.client.Online(ctx, user)
	if err != nil {
		return nil, err
	}
	p := userMessages{UserID: user, Online: online[user]}
	if values.Get("view") == "all" {
		p.list, err = h.history(ctx, user, values.Get("after"))
	} else {
		p.list, err = h.unfinished(ctx, user, values.Get("after"))
	}
	return p, err
}

func (h *Handler) history(ctx context.Context, user, after string) (list[messageView], error) {
	q := gateway.HistoryQuery{Limit: messagePage, Backwards: true}
	if after != "" {
		var err error
		if q.FromSeq, err = strconv.ParseInt(after, 10, 64); err != nil {
			return list[messageView]{}, badRequest("The place in the list is not valid.")
		}
	}
	found, err := h.client.History(ctx, user, q)
	if err != nil {
		return list[messageView]{}, err
	}
	l := list[messageView]{Items: make([]messageView, len(found))}
	for i, m := range found {
		l.Items[i] = viewOf(m)
	}
	if len(found) >= messagePage {
		l.Next = strconv.FormatInt(found[len(found)-1].Seq, 10)
	}
	return l, nil
}

func (h *Handler) unfinished(ctx context.Context, user, after string) (list[messageView], error) {
	var cursor store.Cursor
	if after != "" {
		seq, id, ok := strings.Cut(after, " ")
		var err error
		if cursor.Seq, err = strconv.ParseInt(seq, 10, 64); err != nil || !ok {
			return list[messageView]{}, badRequest("The place in the list is not valid.")
		}
		cursor.ID = id
	}
	rows, err := h.core.Store.Unfinished(ctx, user, cursor, messagePage+1)
	if err != nil {
		return list[messageView]{}, err
	}
	views := make([]messageView, len(rows))
	for i, row := range rows {
		views[i] = viewOf(&gateway.Message{
			ID: row.ID, UserID: row.UserID, Kind: gateway.Kind(row.PushType), Status: gateway.Status(row.Status), Seq: row.Seq,
			SenderType: row.SenderType, SenderID: row.SenderID, Payload: row.Payload, Response: row.Response,
			CreatedAt: row.CreatedAt, DeliveringAt: row.DeliveringAt, RequestDeliveredAt: row.RequestDeliveredAt,
			FinishedAt: row.FinishedAt, ExpiresAt: row.ExpiresAt,
		})
	}
	return cut(views, messagePage, func(v messageView) string { return strconv.FormatInt(v.Seq, 10) + " " + v.ID }), nil
}
