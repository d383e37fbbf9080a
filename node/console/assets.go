package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed assets
var files embed.FS

// assets are what the pages load, and may be seen without the token.
var assets = map[string]string{
	"style.css":  "text/css; charset=utf-8",
	"app.js":     "text/javascript; charset=utf-8",
	"ui.js":      "text/javascript; charset=utf-8",
	"lists.js":   "text/javascript; charset=utf-8",
	"message.js": "text/javascript; charset=utf-8",
	"icon.svg":   "image/svg+xml",
}

func read(name string) []byte {
	content, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic("console: " + name + " is not embedded") // a mistake in this package
	}
	return content
}

// asset serves a file that browsers keep, and ask whether it has changed.
func asset(w http.ResponseWriter, r *http.Request, name string) {
	content := read(name)
	sum := sha256.Sum256(content)
	header := w.Header()
	header.Set("Content-Type", assets[name])
	header.Set("Cache-Control", "no-cache")
	header.Set("Etag", `"`+hex.EncodeToString(sum[:8])+`"`)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}

// document serves a page, which holds no data and is the same for everyone.
func document(w http.ResponseWriter, status int, name string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(read(name))
}
