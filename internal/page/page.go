// Package page is the live page, and the two ways to serve it.
//
// What the browser gets is in dist, which page/build.mjs makes of page/src; `make page` makes it anew and compares. New serves
// it, and nothing else, with headers that let it load and run only what it consists of. It holds no secret, so anybody who
// reaches it may read it: what counts is who may open its WebSocket.
//
//	a broker's page    the broker's own WebSocket, and the broker's own admission: the page asks for a token and keeps it
//	                   in memory
//	perch view         Local: loopback only, a secret in the address, which is exchanged once for a cookie. Its WebSocket
//	                   ends in this process, where Relay asks the broker over the laptop's own session: the browser never
//	                   holds the broker's token, and the laptop's link resumes below it
package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed dist
var dist embed.FS

// Mode is who serves the page.
type Mode string

// Modes.
const (
	View   Mode = "view"   // perch view
	Broker Mode = "broker" // a broker, which asks for a token where it needs one
)

// policy lets the page run its own script and style, show the pictures it was sent, and talk to where it came from. Nothing in
// it may be made of text (Trusted Types), and no other page may frame it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

var headers = map[string]string{
	"Content-Security-Policy":      policy,
	"Referrer-Policy":              "no-referrer",
	"X-Content-Type-Options":       "nosniff",
	"X-Frame-Options":              "DENY",
	"Cross-Origin-Opener-Policy":   "same-origin",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Permissions-Policy":           "camera=(), microphone=(), geolocation=(), display-capture=(), usb=(), serial=()",
	"Cache-Control":                "no-cache", // asked again each time, and answered with 304
}

func harden(h http.Header) {
	for name, value := range headers {
		h.Set(name, value)
	}
}

var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

type asset struct {
	kind         string
	tag          string
	plain, small []byte // as it is, and compressed
}

// New returns what serves the page. socket is the path of its WebSocket.
func New(mode Mode, socket string) (http.Handler, error) {
	assets := map[string]asset{}
	err := fs.WalkDir(dist, "dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		at := "/" + strings.TrimPrefix(name, "dist/")
		if at == "/index.html" {
			at = "/"
			fill := strings.NewReplacer("{{socket}}", html.EscapeString(socket), "{{mode}}", html.EscapeString(string(mode)))
			data = []byte(fill.Replace(string(data)))
		}
		kind, ok := kinds[path.Ext(name)]
		if !ok {
			return fmt.Errorf("the page has a file of an unknown kind, %s", name)
		}
		assets[at], err = newAsset(kind, data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the page: %w", err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		harden(w.Header())
		a, ok := assets[r.URL.Path]
		switch {
		case !ok:
			http.NotFound(w, r)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET is all that can be done here", http.StatusMethodNotAllowed)
		default:
			a.serve(w, r)
		}
	}), nil
}

func newAsset(kind string, data []byte) (asset, error) {
	sum := sha256.Sum256(data)
	a := asset{kind: kind, tag: `"` + hex.EncodeToString(sum[:8]) + `"`, plain: data}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return a, err
	}
	if _, err := z.Write(data); err != nil {
		return a, err
	}
	if err := z.Close(); err != nil {
		return a, err
	}
	if b.Len() < len(data) {
		a.small = b.Bytes()
	}
	return a, nil
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("ETag", a.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", a.kind)
	body := a.plain
	if a.small != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.small
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}
