package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

//go:embed web
var web embed.FS

// lobby is the group in which everyone chats.
const lobby = "lobby"

const (
	maxBody = 64 << 10
	// patience is how long the sender of a command waits for the answer.
	patience = time.Minute
	// maxPresent bounds the list of who is there.
	maxPresent = 200
)

// site is the page and what it asks for.
type site struct {
	client  *gateway.Client
	hub     *gateway.Hub
	telling sync.Mutex
}

func (s *site) handler() http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Sub(web, "web")
	if err != nil {
		panic(err) // web is embedded
	}
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /connect", s.connect)
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("POST /send", s.send)
	return secured(http.NewCrossOriginProtection().Handler(mux))
}

// secured allows the page what it is made of, and the WebSocket to its host.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}

// connect hands out the URL with which the page connects. A real backend knows
// from its session who asks.
func (s *site) connect(w http.ResponseWriter, r *http.Request) {
	access, err := s.client.ClientAccessToken(r.Context(), r.URL.Query().Get("user"),
		gateway.WithEndpoint("http://"+r.Host),
		gateway.WithGroups(lobby), gateway.WithRoles("webpubsub.sendToGroup."+lobby))
	answer(w, map[string]string{"url": access.URL}, err)
}

// order is what a person sends to another.
type order struct {
	Kind string `json:"kind"` // realtime, reliable, command
	From string `json:"from"`
	To   string `json:"to"`
	Text string `json:"text"`
}

// note is the payload of all three.
type note struct {
	From string `json:"from"`
	Text string `json:"text"`
}

// send sends it, and waits for the answer to a command.
func (s *site) send(w http.ResponseWriter, r *http.Request) {
	var o order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&o); err != nil {
		answer(w, nil, errors.Join(gateway.ErrInvalidArgument, err))
		return
	}
	ctx, sender, payload := r.Context(), gateway.WithSender("client", o.From), note{From: o.From, Text: o.Text}
	result := map[string]any{}
	var err error
	switch o.Kind {
	case "realtime":
		err = s.client.SendRealtime(ctx, o.To, payload)
	case "reliable":
		result["id"], err = s.client.SendReliable(ctx, o.To, payload, sender)
	case "command":
		var res *gateway.CommandResult
		res, err = s.client.SendCommand(ctx, o.To, "ASK", payload, sender, gateway.WithTimeout(patience))
		if res != nil {
			result["id"], result["answer"] = res.MessageID, res.Response
		}
		var failed *gateway.CommandError
		if errors.As(err, &failed) {
			result["error"], err = failed.Message, nil // the device has said why
		}
	default:
		err = gateway.ErrInvalidArgument
	}
	answer(w, result, err)
}

// status says how far a reliable message has come.
func (s *site) status(w http.ResponseWriter, r *http.Request) {
	message, err := s.client.Message(r.Context(), r.URL.Query().Get("id"))
	if err != nil {
		answer(w, nil, err)
		return
	}
	answer(w, map[string]any{"status": message.Status}, nil)
}

// answer writes a result or what went wrong.
func answer(w http.ResponseWriter, result any, err error) {
	status := http.StatusOK
	switch {
	case err == nil:
	case errors.Is(err, gateway.ErrInvalidArgument):
		status = http.StatusBadRequest
	case errors.Is(err, gateway.ErrMessageNotFound):
		status = http.StatusNotFound
	case errors.Is(err, gateway.ErrCommandTimeout):
		status = http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled): // whoever asked is gone
		status = http.StatusServiceUnavailable
	default:
		log.Println("request failed:", err)
		status = http.StatusServiceUnavailable
	}
	if err != nil {
		result = map[string]string{"error": http.StatusText(status)}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(result); err != nil {
		log.Println("answer not written:", err)
	}
}

// connected and disconnected are hooks of the node: whenever someone comes or
// goes, everyone in the lobby is told who is there.
func (s *site) connected(ctx context.Context, _ node.Connection) { s.tellWhoIsThere(ctx) }

func (s *site) disconnected(ctx context.Context, _ node.Connection, _ string) { s.tellWhoIsThere(ctx) }

func (s *site) tellWhoIsThere(ctx context.Context) {
	s.telling.Lock() // the last list that is sent is the last one that was read
	defer s.telling.Unlock()
	members, err := s.hub.GroupConnections(ctx, lobby, "", maxPresent)
	users := make([]string, 0, len(members))
	for _, m := range members {
		users = append(users, m.UserID)
	}
	slices.Sort(users)
	if err == nil {
		err = s.hub.SendToGroup(ctx, lobby, map[string]any{"present": slices.Compact(users)})
	}
	if err != nil && !errors.Is(err, gateway.ErrClosed) {
		log.Println("presence not told:", err)
	}
}
