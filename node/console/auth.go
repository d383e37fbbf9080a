package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// cookieName holds the session. The cookie has no Path: browsers then send it
// to the folder that set it and below, whatever prefix a proxy put in front.
const cookieName = "gateway_console"

// maxLogin is the largest login form in bytes.
const maxLogin = 4 << 10

// auth checks tokens and makes sessions. A session is the time of its end under
// a MAC whose key is the token, so every node with the same token knows it, and
// another token ends it.
type auth struct {
	token    []byte
	lifetime time.Duration
	now      func() time.Time
}

// right compares in constant time, also where the lengths differ.
func (a *auth) right(token string) bool {
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256(a.token)
	return subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

func (a *auth) session() (value string, ends time.Time) {
	ends = a.now().Add(a.lifetime)
	end := strconv.FormatInt(ends.Unix(), 10)
	return end + "." + a.mac(end), ends
}

func (a *auth) mac(end string) string {
	mac := hmac.New(sha256.New, a.token)
	mac.Write([]byte("gateway console session until " + end))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func (a *auth) valid(session string) bool {
	end, mac, ok := strings.Cut(session, ".")
	if !ok || !hmac.Equal([]byte(mac), []byte(a.mac(end))) {
		return false
	}
	seconds, err := strconv.ParseInt(end, 10, 64)
	return err == nil && a.now().Before(time.Unix(seconds, 0))
}

// allowed reports whether a request carries the token or a session.
func (a *auth) allowed(r *http.Request) bool {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return a.right(strings.TrimSpace(token))
	}
	for _, cookie := range r.CookiesNamed(cookieName) {
		if a.valid(cookie.Value) {
			return true
		}
	}
	return false
}

// page is the console, or the form that asks for the token.
func (h *Handler) page(w http.ResponseWriter, r *http.Request) {
	if h.auth.allowed(r) {
		document(w, http.StatusOK, "index.html")
		return
	}
	document(w, http.StatusOK, "login.html")
}

// login takes the token from a form, never from a URL.
func (h *Handler) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxLogin)
	if !h.auth.right(r.PostFormValue("token")) {
		h.countRefused(r, "token")
		h.core.Log.Warn("wrong token for the console", "remote", r.RemoteAddr)
		document(w, http.StatusUnauthorized, "refused.html")
		return
	}
	value, ends := h.auth.session()
	setSession(w, r, value, ends)
	seeOther(w, "./")
}

func (h *Handler) logout(w http.ResponseWriter, r *http.Request) {
	setSession(w, r, "", time.Unix(0, 0))
	seeOther(w, "./")
}

func setSession(w http.ResponseWriter, r *http.Request, value string, ends time.Time) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // Secure wherever the browser came over TLS; a node on loopback has none
		Name: cookieName, Value: value, Expires: ends, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https"),
	})
}

func (h *Handler) countRefused(r *http.Request, reason string) {
	h.core.Metrics.Refused.Add(r.Context(), 1, metric.WithAttributes(attribute.String("reason", "console_"+reason)))
}
