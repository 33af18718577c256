package peer

import (
	"context"
	"io"
	"iter"
	"strings"

	"github.com/rsocket/rsocket-go/core"

	"github.com/perchcam/perch/pkg/session"
)

// answer returns the stream of an incoming request, which is still to be put together.
func answer(p *Peer, s *session.Stream, kind core.FrameType, credit uint32) *stream {
	st := &stream{p: p, s: s, kind: kind, asking: true}
	if st.out.credit = credit; kind == core.FrameTypeRequestResponse {
		st.out.credit = 1
	}
	st.ctx, st.cancel = context.WithCancelCause((*base)(st))
	return st
}

// begin starts the handler of a request that is whole. complete: a channel's requester has said all. mu is held.
func (st *stream) begin(req Payload, complete bool) {
	st.asking, st.serving = false, true
	switch {
	case st.kind == core.FrameTypeRequestFNF:
		st.in.err, st.out.err = io.EOF, io.EOF
	case st.kind != core.FrameTypeRequestChannel || complete:
		st.in.err = io.EOF
	default:
		st.in.init(st.p.cfg.Window, maxN)
	}
	st.p.start(func() { st.serve(req) })
}

// serve runs the handler and sends its answer.
func (st *stream) serve(req Payload) {
	defer st.p.done()
	var v Payload
	failed := error(errInternal) // stands if the handler panics, or exits its goroutine
	defer func() { st.served(v, failed) }()
	st.p.guard(what(st.kind), func() {
		switch h := st.p.cfg.Handler; st.kind {
		case core.FrameTypeRequestFNF:
			h.FireAndForget(st.ctx, req)
		case core.FrameTypeRequestResponse:
			v, failed = h.RequestResponse(st.ctx, req)
		case core.FrameTypeRequestStream:
			failed = st.answerAll(h.RequestStream(st.ctx, req))
		case core.FrameTypeRequestChannel:
			in := st.elements(st.ctx, st.refuseInput)
			failed = st.answerAll(h.RequestChannel(st.ctx, req, in))
		}
	})
}

// served notes that the handler has returned: v is its answer to a request-response.
func (st *stream) served(v Payload, failed error) {
	st.mu.Lock()
	st.serving = false
	st.in.clear(st.p)
	switch {
	case st.over:
		st.p.open.Add(-1)
	case st.kind == core.FrameTypeRequestFNF:
		st.s.Forget()
		st.drop(io.EOF)
	case st.kind == core.FrameTypeRequestResponse && failed == nil:
		st.out.done, st.out.said, st.out.counts = true, true, true
		st.out.hold(st.p, v.size())
		st.send(v, core.FlagNext|core.FlagComplete, v.size())
	default:
		st.finish(failed)
	}
	st.mu.Unlock()
	st.s.Session().Flush()
}

// answerAll ranges over a handler's stream, once its first element may leave.
func (st *stream) answerAll(seq iter.Seq2[Payload, error]) error {
	if seq == nil {
		return nil
	}
	err := st.await(st.ctx, st.ready)
	st.mu.Unlock()
	if err != nil {
		return err
	}
	return st.sendAll(st.ctx, seq)
}

// refuseInput tells a channel's requester to send no more.
func (st *stream) refuseInput() {
	st.mu.Lock()
	if !st.over && st.in.err == nil {
		st.in.err = io.EOF
		st.in.clear(st.p)
		st.s.Refuse()
	}
	st.mu.Unlock()
	st.s.Session().Flush()
}

func what(kind core.FrameType) string { return strings.ToUpper(kind.String()) }
