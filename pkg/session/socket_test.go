package session_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"io"
	"math"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

var socketCuts = flag.Int("chaos.sockets", 100, "how many cuts of real connections TestCutRealSockets makes")

// road is a way over real TCP connections: a relay on loopback that cuts each of them after a number of bytes.
type road struct {
	t     *testing.T
	tls   *tls.Config // nil: plain
	serve net.Listener
	relay net.Listener
	work  sync.WaitGroup

	mu   sync.Mutex // guards the following
	rnd  *mathrand.Rand
	left int // cuts to make
	made map[string]int
	open map[net.Conn]bool
}

const whole = math.MaxInt32 // bytes of a connection that is not cut

func newRoad(t *testing.T, seed uint64, cuts int, secure *tls.Config) *road {
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	return &road{
		t: t, tls: secure, serve: listen(), relay: listen(),
		rnd: mathrand.New(mathrand.NewPCG(seed, 7)), left: cuts, made: map[string]int{}, open: map[net.Conn]bool{},
	}
}

func (r *road) dial(ctx context.Context) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", r.relay.Addr().String())
	if err != nil || r.tls == nil {
		return nc, err
	}
	tc := tls.Client(nc, r.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return tc, nil
}

func (r *road) lead(serve func(net.Conn)) {
	ln := r.serve
	if r.tls != nil {
		ln = tls.NewListener(ln, r.tls)
	}
	r.work.Go(func() { accept(&r.work, ln, serve) })
	r.work.Go(func() { accept(&r.work, r.relay, r.carry) })
}

func accept(work *sync.WaitGroup, ln net.Listener, f func(net.Conn)) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		work.Go(func() { f(nc) })
	}
}

func (r *road) down() {
	_ = r.serve.Close()
	_ = r.relay.Close()
	r.mu.Lock()
	for nc := range r.open {
		_ = nc.Close()
	}
	r.mu.Unlock()
	r.work.Wait()
}

// carry relays one connection, and cuts it when its turn has come.
func (r *road) carry(near net.Conn) {
	far, err := net.Dial("tcp", r.serve.Addr().String())
	if err != nil {
		_ = near.Close()
		return
	}
	r.mu.Lock()
	at, kind, back := whole, "", false
	if r.left > 0 {
		r.left--
		// Not before the session is up: TLS, SETUP and the first KEEPALIVE are less than 4,000 bytes.
		at, kind, back = 4000+r.rnd.IntN(60_000), []string{"RST", "FIN", "black hole"}[r.rnd.IntN(3)], r.rnd.IntN(2) == 0
	}
	r.open[near], r.open[far] = true, true
	r.mu.Unlock()
	hit := make(chan struct{})
	copyTo := func(dst, src net.Conn, limited bool) {
		n := int64(whole)
		if limited {
			n = int64(at)
		}
		_, err := io.CopyN(dst, src, n)
		if err == nil {
			r.mu.Lock()
			r.made[kind]++
			r.mu.Unlock()
			close(hit)
			return
		}
		if limited {
			r.mu.Lock()
			r.left++ // the connection was over before its cut
			r.mu.Unlock()
		}
		select {
		case <-hit: // the way of the cut decides what becomes of the connections
		default:
			_ = dst.Close()
			_ = src.Close()
		}
	}
	var both sync.WaitGroup
	both.Go(func() { copyTo(far, near, at < whole && !back) })
	both.Go(func() { copyTo(near, far, at < whole && back) })
	over := make(chan struct{})
	go func() { both.Wait(); close(over) }()
	select {
	case <-over:
	case <-hit:
		switch kind {
		case "RST":
			_ = near.(*net.TCPConn).SetLinger(0)
			_ = far.(*net.TCPConn).SetLinger(0)
			fallthrough
		case "FIN":
			_ = near.Close()
			_ = far.Close()
		case "black hole": // the ends find out by themselves; the other direction goes on until they do
		}
		<-over
	}
}

// secure is TLS between ends that trust one another's fresh certificate.
func secure(t *testing.T) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"broker"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ServerName: "broker"}
}

// TestCutRealSockets has conversations over loopback TCP and TLS, through a broker, and cuts both legs.
func TestCutRealSockets(t *testing.T) {
	t.Parallel()    // it mostly waits
	const many = 40 // conversations at once: most of their time goes by until a black hole is noticed
	over := secure(t)
	var mu sync.Mutex
	made, runs := map[string]int{}, 0
	total := func() (n int) {
		for _, m := range made {
			n += m
		}
		return n
	}
	var work sync.WaitGroup
	for k := range many {
		work.Go(func() {
			for i := 0; ; i++ {
				mu.Lock()
				enough := total() >= *socketCuts || runs > 10**socketCuts
				runs++
				mu.Unlock()
				if enough {
					return
				}
				seed := *chaosSeed + uint64(k+many*i)
				cuts := 1 + k%3
				laptop, device := newRoad(t, seed, cuts, nil), newRoad(t, seed+1<<32, cuts, nil)
				st, name := variant(1+4*(k/3%3), seed)
				name = name[len("laptop's leg"):]
				if k%4 == 0 {
					device.tls, name = over, name+", TLS to the device"
				}
				if k%5 == 0 {
					laptop.tls, name = over, name+", TLS to the laptop"
				}
				if k%7 == 0 {
					st.options.NotSent, st.options.Batch, name = 1<<10, 1<<10, name+", one frame at a time"
				}
				faults := st.play(t, laptop, device, func() {})
				mu.Lock()
				for _, r := range []*road{laptop, device} {
					for kind, n := range r.made {
						made[kind] += n
					}
				}
				mu.Unlock()
				for _, f := range faults {
					t.Errorf("seed %d%s: %s", seed, name, f)
				}
				if len(faults) > 0 {
					return
				}
			}
		})
	}
	work.Wait()
	t.Logf("%d conversations, %d cuts %v", runs-many, total(), made)
}
