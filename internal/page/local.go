package page

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/perchcam/perch/pkg/link"
)

// LocalConfig says what Local serves, and to whom.
type LocalConfig struct {
	// Serve takes a browser's WebSocket, dressed as a link, and returns when it is over. It must end when the link does.
	Serve func(nc net.Conn)
	// Entered is told when a browser has been let in. It must not block. May be nil.
	Entered func()
	Log     *slog.Logger // nil discards
}

// Local serves the page to a person on this machine. Other programs and users of the machine can reach its port, and so can
// any web page that the person's browser has open. What keeps them out:
//
//   - the Host of each request must be this very address, so that a name that was rebound to 127.0.0.1 leads nowhere;
//   - whatever does something must come from the page itself, by its Origin;
//   - the WebSocket needs a cookie that only a secret buys, once. The secret is in the fragment of the address, which browsers
//     send to nobody; the cookie is not for scripts (HttpOnly), not for other sites' requests (SameSite=Strict), and belongs
//     to a path that is drawn anew each time, because cookies do not tell the ports of one machine apart.
type Local struct {
	cfg    LocalConfig
	ln     net.Listener
	host   string // that requests must name
	socket string // path of the WebSocket
	page   http.Handler

	mu      sync.Mutex                 // guards the following
	secret  [sha256.Size]byte          // that buys a cookie; of the newest Link
	open    bool                       // it has not been used
	cookies map[[sha256.Size]byte]bool // that were bought
	sockets sync.WaitGroup             // Add holds mu, and asks closed
	closed  bool
}

const (
	cookieName = "perch"
	maxSecret  = 128
	maxCookies = 64
	maxMessage = 1 << 20 // of a browser: its requests are small
)

// errNotHere is a place to listen that others could reach.
var errNotHere = errors.New("the page is for this machine only: listen on 127.0.0.1, [::1] or localhost")

// NewLocal listens on a loopback address, such as 127.0.0.1:0.
func NewLocal(addr string, cfg LocalConfig) (*Local, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	l := &Local{cfg: cfg, socket: "/socket-" + rand.Text(), cookies: map[[sha256.Size]byte]bool{}}
	var err error
	if l.page, err = New(View, l.socket); err != nil {
		return nil, err
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("cannot listen on %q: it must be an address and a port, such as 127.0.0.1:8080", addr)
	}
	if l.ln, err = net.Listen("tcp", addr); err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, err)
	}
	at, ok := l.ln.Addr().(*net.TCPAddr)
	if !ok || !at.IP.IsLoopback() { // whatever the name said
		_ = l.ln.Close()
		return nil, fmt.Errorf("cannot listen on %s: %w", addr, errNotHere)
	}
	l.host = at.String()
	return l, nil
}

// Link returns an address that lets one browser in, and shows it a device; "" is all. It replaces the one before.
func (l *Local) Link(device string) string {
	secret := rand.Text() + rand.Text() // 260 bits
	l.mu.Lock()
	l.secret, l.open = sha256.Sum256([]byte(secret)), true
	l.mu.Unlock()
	if device != "" {
		device = "/" + url.PathEscape(device)
	}
	return "http://" + l.host + "/#key=" + secret + device
}

// Run serves until ctx ends, and returns when all WebSockets have ended.
func (l *Local) Run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.Handle("/", l.page)
	mux.HandleFunc(l.socket, func(w http.ResponseWriter, r *http.Request) { l.serveSocket(ctx, w, r) })
	mux.HandleFunc(l.socket+"/session", l.session)
	srv := &http.Server{
		Handler:           l.only(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(l.cfg.Log.Handler(), slog.LevelDebug),
		ConnContext:       func(ctx context.Context, nc net.Conn) context.Context { return context.WithValue(ctx, belowKey{}, nc) },
	}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	err := srv.Serve(l.ln)
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	_ = srv.Close()
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.sockets.Wait()
	return err
}

type belowKey struct{}

// only lets requests through that name this address, and refuses those that do something and come from elsewhere.
func (l *Local) only(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		harden(w.Header())
		switch origin := r.Header.Get("Origin"); {
		case r.Host != l.host:
			l.refuse(w, r, http.StatusMisdirectedRequest, "this is not the address of the page")
		case origin != "" && origin != "http://"+l.host:
			l.refuse(w, r, http.StatusForbidden, "this is for the page itself, and not for others")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func (l *Local) refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	l.cfg.Log.Warn("request refused", "path", r.URL.Path, "host", r.Host, "origin", r.Header.Get("Origin"), "reason", text)
	http.Error(w, text, status)
}

// session exchanges the secret for a cookie (POST), or says whether there is one (GET).
func (l *Local) session(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && l.known(r):
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet:
		http.Error(w, "no", http.StatusUnauthorized)
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", "GET, POST")
		http.Error(w, "GET and POST", http.StatusMethodNotAllowed)
	case r.Header.Get("Origin") == "":
		l.refuse(w, r, http.StatusForbidden, "this is for the page itself, and not for others")
	default:
		secret, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSecret))
		if err != nil {
			http.Error(w, "that is no secret", http.StatusBadRequest)
			return
		}
		cookie, ok := l.exchange(secret)
		if !ok {
			l.refuse(w, r, http.StatusForbidden, "that is not the secret, or it has been used")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: cookieName, Value: cookie, Path: l.socket, HttpOnly: true, SameSite: http.SameSiteStrictMode})
		w.WriteHeader(http.StatusNoContent)
		if l.cfg.Entered != nil {
			l.cfg.Entered()
		}
	}
}

// exchange takes the secret, which counts once, for a cookie.
func (l *Local) exchange(secret []byte) (cookie string, ok bool) {
	sum := sha256.Sum256(secret)
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open || subtle.ConstantTimeCompare(sum[:], l.secret[:]) != 1 || len(l.cookies) >= maxCookies {
		return "", false
	}
	l.open = false
	cookie = rand.Text() + rand.Text()
	l.cookies[sha256.Sum256([]byte(cookie))] = true
	return cookie, true
}

// known reports whether a request shows a cookie that was bought. They are looked up by their hash, so the time it takes tells
// nothing.
func (l *Local) known(r *http.Request) bool {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.cookies[sha256.Sum256([]byte(c.Value))]
	return ok
}

// serveSocket takes the page's WebSocket.
func (l *Local) serveSocket(ctx context.Context, w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Header.Get("Origin") == "":
		l.refuse(w, r, http.StatusForbidden, "this is for the page itself, and not for others")
		return
	case !l.known(r):
		l.refuse(w, r, http.StatusUnauthorized, "this browser has not been let in")
		return
	}
	l.mu.Lock()
	closed := l.closed
	if !closed {
		l.sockets.Add(1)
	}
	l.mu.Unlock()
	if closed {
		http.Error(w, "the page has ended", http.StatusServiceUnavailable)
		return
	}
	defer l.sockets.Done()
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		l.cfg.Log.Debug("WebSocket refused", "err", err)
		return
	}
	below, ok := r.Context().Value(belowKey{}).(net.Conn)
	if !ok {
		_ = ws.CloseNow()
		return
	}
	_ = below.SetDeadline(time.Time{}) // the server's, for requests
	stop := context.AfterFunc(ctx, func() { _ = ws.CloseNow() })
	defer stop()
	l.cfg.Serve(link.NewWebSocket(ws, below, maxMessage))
}
