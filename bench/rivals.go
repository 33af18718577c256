package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/nats-io/nats.go"
	"github.com/rsocket/rsocket-go"
	"github.com/rsocket/rsocket-go/payload"
	"github.com/rsocket/rsocket-go/rx/mono"
)

// What a user would pick instead, each as its own documentation says it is used for request and reply.

// HTTP: the laptop asks the device directly, over a connection that is kept.

func httpDevice() error {
	data := zeros()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	say(ready{Addr: ln.Addr().String()})
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := strconv.Atoi(r.URL.Path[1:])
			w.Header().Set("Content-Length", strconv.Itoa(n))
			_, _ = w.Write(data[:n])
		}))
	}()
	return stay()
}

type httpLaptop struct {
	base string
	c    *http.Client
	buf  []byte
}

func newHTTPLaptop(addr string) asker {
	return &httpLaptop{"http://" + addr + "/", &http.Client{Transport: &http.Transport{DisableCompression: true}}, nil}
}

func (l *httpLaptop) ask(size int) error {
	r, err := l.c.Get(l.base + strconv.Itoa(size))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if len(l.buf) < size {
		l.buf = make([]byte, size)
	}
	_, err = io.ReadFull(r.Body, l.buf[:size])
	return err
}

func (l *httpLaptop) close() { l.c.CloseIdleConnections() }

// NATS: a subscription of the device, a request of the laptop.

const natsSubject = "device." + deviceName + ".snapshot"

func natsConnect(addr, ca string) (*nats.Conn, error) {
	opts := []nats.Option{nats.MaxReconnects(-1)}
	url := "nats://" + addr
	if ca != "" {
		opts = append(opts, nats.RootCAs(ca))
		url = "tls://" + addr
	}
	return nats.Connect(url, opts...)
}

func natsDevice(addr, ca string) error {
	data := zeros()
	nc, err := natsConnect(addr, ca)
	if err != nil {
		return err
	}
	_, err = nc.Subscribe(natsSubject, func(m *nats.Msg) { _ = m.Respond(data[:binary.BigEndian.Uint32(m.Data)]) })
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		return err
	}
	say(ready{})
	return stay()
}

type natsLaptop struct{ nc *nats.Conn }

func newNATSLaptop(addr, ca string) (asker, error) {
	nc, err := natsConnect(addr, ca)
	return &natsLaptop{nc}, err
}

func (l *natsLaptop) ask(size int) error {
	m, err := l.nc.Request(natsSubject, sized(size), time.Minute)
	if err == nil && len(m.Data) != size {
		err = fmt.Errorf("%d of %d bytes", len(m.Data), size)
	}
	return err
}

func (l *natsLaptop) another() asker { return l }
func (l *natsLaptop) close()         { l.nc.Close() }

// natsServer starts one whose limit lets every payload through that is sent here.
func (l *lab) natsServer(tls bool) (*child, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	conf := fmt.Sprintf("listen: %s\nmax_payload: %d\nmax_pending: 256MB\n", addr, most)
	if tls {
		conf += fmt.Sprintf("tls { cert_file: %q, key_file: %q }\n", l.pki.Cert, l.pki.Key)
	}
	file := filepath.Join(l.tmp, "nats-"+port+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	c, err := program("nats-server", filepath.Join(l.bin, "nats-server"), nil, "-c", file)
	if err != nil {
		return nil, err
	}
	c.addr = addr
	return c, listening(l.ctx, addr)
}

// MQTT: a topic for the device's requests, one for each laptop's answers.

func mqttConnect(addr, id string) (mqtt.Client, error) {
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetOrderMatters(true))
	t := c.Connect()
	if !t.WaitTimeout(10 * time.Second) {
		return nil, errors.New("the broker does not answer")
	}
	return c, t.Error()
}

const mqttTopic = "device/" + deviceName + "/snapshot"

func mqttDevice(addr string) error {
	data := zeros()
	c, err := mqttConnect(addr, "device")
	if err != nil {
		return err
	}
	t := c.Subscribe(mqttTopic, 0, func(c mqtt.Client, m mqtt.Message) {
		b := m.Payload()
		c.Publish(string(b[4:]), 0, false, data[:binary.BigEndian.Uint32(b)])
	})
	if t.Wait(); t.Error() != nil {
		return t.Error()
	}
	say(ready{})
	return stay()
}

type mqttLaptop struct {
	c     mqtt.Client
	topic string
	got   chan int
}

func newMQTTLaptop(addr string) (asker, error) {
	l := &mqttLaptop{topic: fmt.Sprintf("laptop/%d-%d", os.Getpid(), mqttLaptops.Add(1)), got: make(chan int, 1)}
	var err error
	if l.c, err = mqttConnect(addr, l.topic); err != nil {
		return nil, err
	}
	t := l.c.Subscribe(l.topic, 0, func(_ mqtt.Client, m mqtt.Message) { l.got <- len(m.Payload()) })
	t.Wait()
	return l, t.Error()
}

// mqttLaptops numbers the laptops of this process: a client id may be used once.
var mqttLaptops atomic.Int64

func (l *mqttLaptop) ask(size int) error {
	l.c.Publish(mqttTopic, 0, false, append(sized(size), l.topic...))
	select {
	case n := <-l.got:
		if n != size {
			return fmt.Errorf("%d of %d bytes", n, size)
		}
		return nil
	case <-time.After(time.Minute):
		return errors.New("no answer")
	}
}

func (l *mqttLaptop) close() { l.c.Disconnect(100) }

func (l *lab) mosquitto() (*child, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	file := filepath.Join(l.tmp, "mosquitto-"+port+".conf")
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 10000\n", port)
	if os.Geteuid() == 0 {
		conf += "user root\n" // as which it reads the file
	}
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto"
	}
	c, err := program("mosquitto", path, nil, "-c", file)
	if err != nil {
		return nil, err
	}
	c.addr = addr
	return c, listening(l.ctx, addr)
}

// rsocket-go: the broker that its own means suggest. Devices connect and serve; a laptop's request is passed to the
// device's socket, and its answer back. Frames are whole: with fragments of 16 KiB it is 2 to 4 times slower.

const naiveDevices, naiveLaptops = "device", "laptop"

func naiveBroker() error {
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	var dev atomic.Pointer[rsocket.CloseableRSocket]
	serving := make(chan error, 1)
	listens := make(chan struct{})
	go func() {
		serving <- rsocket.Receive().OnStart(func() { close(listens) }).
			Acceptor(func(_ context.Context, setup payload.SetupPayload, s rsocket.CloseableRSocket) (rsocket.RSocket, error) {
				if setup.DataUTF8() == naiveDevices {
					dev.Store(&s)
					return rsocket.NewAbstractSocket(), nil
				}
				return rsocket.NewAbstractSocket(rsocket.RequestResponse(func(p payload.Payload) mono.Mono {
					d := dev.Load()
					if d == nil {
						return mono.Error(errors.New("there is no device"))
					}
					return (*d).RequestResponse(payload.Clone(p))
				})), nil
			}).
			Transport(rsocket.TCPServer().SetAddr(addr).Build()).Serve(context.Background())
	}()
	select {
	case <-listens:
	case err := <-serving:
		return err
	}
	say(ready{Addr: addr})
	return stay()
}

func naiveDevice(addr string) error {
	data := zeros()
	_, err := rsocket.Connect().SetupPayload(payload.NewString(naiveDevices, "")).
		Acceptor(func(context.Context, rsocket.RSocket) rsocket.RSocket {
			return rsocket.NewAbstractSocket(rsocket.RequestResponse(func(p payload.Payload) mono.Mono {
				return mono.Just(payload.New(data[:binary.BigEndian.Uint32(p.Data())], nil))
			}))
		}).
		Transport(rsocket.TCPClient().SetAddr(addr).Build()).Start(context.Background())
	if err != nil {
		return err
	}
	time.Sleep(200 * time.Millisecond) // Start returns before the broker has accepted
	say(ready{})
	return stay()
}

type naiveLaptop struct{ c rsocket.Client }

func newNaiveLaptop(addr string) (asker, error) {
	c, err := rsocket.Connect().SetupPayload(payload.NewString(naiveLaptops, "")).
		Transport(rsocket.TCPClient().SetAddr(addr).Build()).Start(context.Background())
	return &naiveLaptop{c}, err
}

func (l *naiveLaptop) ask(size int) error {
	v, err := l.c.RequestResponse(payload.New(sized(size), nil)).Block(context.Background())
	if err == nil && len(v.Data()) != size {
		err = fmt.Errorf("%d of %d bytes", len(v.Data()), size)
	}
	return err
}

func (l *naiveLaptop) close() { _ = l.c.Close() }
