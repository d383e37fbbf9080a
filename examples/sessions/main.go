// Sessions is a net/http service with logins and sessions of its own. Its
// devices connect with the session cookie that the browser has anyway: there is
// no second kind of token. The program starts the service, plays two browsers,
// and ends.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/examples/internal/device"
	"github.com/message-gateway/gateway/node"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sessions:", err)
		os.Exit(1)
	}
}

// service is the backend: its users, its sessions, and the gateway.
type service struct {
	client *gateway.Client

	mu       sync.Mutex
	sessions map[string]string // cookie → user
}

// login gives out a session; a real one would check a password here.
func (s *service) login(w http.ResponseWriter, r *http.Request) {
	id := rand.Text()
	s.mu.Lock()
	s.sessions[id] = r.FormValue("user")
	s.mu.Unlock()
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // G124: no TLS on loopback; add Secure: true in production
		Name: "session", Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}

// user is who has the session of a request.
func (s *service) user(r *http.Request) (string, error) {
	cookie, err := r.Cookie("session")
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok := s.sessions[cookie.Value]
	if !ok {
		return "", errors.New("unknown session")
	}
	return user, nil
}

// authenticate is what the node asks about each device that connects. An error
// refuses the device with 401; its text stays here.
func (s *service) authenticate(r *http.Request) (node.Identity, error) {
	user, err := s.user(r)
	return node.Identity{UserID: user}, err
}

// message is an ordinary handler of the service.
func (s *service) message(w http.ResponseWriter, r *http.Request) {
	from, err := s.user(r)
	if err != nil {
		http.Error(w, "log in first", http.StatusUnauthorized)
		return
	}
	_, err = s.client.SendReliable(r.Context(), r.FormValue("to"), r.FormValue("text"), gateway.WithSender("user", from))
	if err != nil {
		http.Error(w, "try again later", http.StatusServiceUnavailable)
	}
}

func run(ctx context.Context) (err error) {
	client, err := gateway.New(ctx, gateway.Embedded("")) // gateway.FromEnv(ctx) in production
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	s := &service{client: client, sessions: map[string]string{}}
	// With cookies the node lets only pages of its own host connect: see Origins.
	n, err := node.New(client, node.Options{Authenticator: s.authenticate})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("POST /message", s.message)
	mux.Handle("/client/", n)
	server := httptest.NewServer(mux) // http.ListenAndServe in production
	defer server.Close()
	defer func() { err = errors.Join(err, n.Shutdown(ctx)) }()

	fmt.Println("without a session:", refusal(ctx, server.URL))
	ada, err := logIn(ctx, server.URL, "ada")
	if err != nil {
		return err
	}
	bob, err := logIn(ctx, server.URL, "bob")
	if err != nil {
		return err
	}
	phone, err := bob.connect(ctx)
	if err != nil {
		return err
	}
	defer phone.Leave()
	if err := ada.post(ctx, "/message", url.Values{"to": {"bob"}, "text": {"lunch?"}}); err != nil {
		return err
	}
	message, err := phone.Envelope(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("bob's phone received %s\n", message.Payload)
	return phone.Acknowledge(ctx)
}

// refusal is how a device without a cookie fares.
func refusal(ctx context.Context, endpoint string) error {
	_, err := device.Connect(ctx, endpoint+"/client/hubs/default", nil)
	return err
}

// browser has the cookies of one user.
type browser struct {
	endpoint string
	http     http.Client
}

func logIn(ctx context.Context, endpoint, user string) (*browser, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	b := &browser{endpoint: endpoint, http: http.Client{Jar: jar}}
	return b, b.post(ctx, "/login", url.Values{"user": {user}})
}

func (b *browser) post(ctx context.Context, path string, form url.Values) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.endpoint+path+"?"+form.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := b.http.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return nil
}

// connect opens a WebSocket with the cookies, as a browser does by itself.
func (b *browser) connect(ctx context.Context) (*device.Device, error) {
	at, err := url.Parse(b.endpoint)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for _, cookie := range b.http.Jar.Cookies(at) {
		header.Add("Cookie", cookie.String())
	}
	return device.Connect(ctx, b.endpoint+"/client/hubs/default", header)
}
