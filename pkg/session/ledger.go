package session

// ledger counts what was sent and received and keeps what may have to be sent again. It is the whole
// of the protocol's resumption as arithmetic: no socket, no clock, no lock (Protocol.md, "Resuming
// Operation"). Positions are bytes of whole counted frames, without the length before them.
type ledger struct {
	retain   bool        // keep sent frames until they are acknowledged
	received uint64      // end of the last whole frame received
	sent     uint64      // end of the last frame given to a link
	acked    uint64      // the other end has everything before it
	kept     fifo[Frame] // the frames from acked to sent, oldest first
	again    int         // kept[again:] must be written again on this link
	bytes    int         // in kept
}

// add notes that f is about to be written for the first time. What it keeps it has a reference of its own to.
func (l *ledger) add(f Frame) {
	l.sent += uint64(f.Size())
	if !l.retain {
		return
	}
	f.hold()
	l.kept.push(f)
	l.bytes += f.Size()
	l.again++
}

// replay returns the next frame that must be written again, and false when there is none.
// The caller gets a reference of its own.
func (l *ledger) replay() (Frame, bool) {
	if !l.replaying() {
		return Frame{}, false
	}
	f := *l.kept.at(l.again)
	f.hold()
	l.again++
	return f, true
}

// replaying reports whether frames must be written again before new ones.
func (l *ledger) replaying() bool { return l.again < l.kept.len() }

// ack forgets what the other end has: every frame before pos. A position must be the end of a frame
// that was sent and not before an earlier acknowledgement.
func (l *ledger) ack(pos uint64) error {
	if !l.retain {
		return nil
	}
	if pos > l.sent {
		return protocolError("acknowledged position %d is beyond %d, which is all that was sent", pos, l.sent)
	}
	for l.acked < pos {
		if l.again == 0 {
			return protocolError("acknowledged position %d is of a frame that was not sent on this link", pos)
		}
		size := uint64(l.kept.at(0).Size())
		if l.acked+size > pos {
			return protocolError("acknowledged position %d is inside a frame", pos)
		}
		f, _ := l.kept.pop()
		l.acked += size
		l.bytes -= int(size)
		l.again--
		f.release()
	}
	return nil
}

// mayRewind reports why rewind(pos) would fail, if it would.
func (l *ledger) mayRewind(pos uint64) error {
	if pos < l.acked || pos > l.sent {
		return protocolError("position %d is not among what is kept, %d to %d", pos, l.acked, l.sent)
	}
	at := l.acked
	for i := 0; at < pos; i++ {
		at += uint64(l.kept.at(i).Size())
	}
	if at != pos {
		return protocolError("position %d is inside a frame", pos)
	}
	return nil
}

// rewind prepares for a new link whose other end has everything before pos.
func (l *ledger) rewind(pos uint64) error {
	if err := l.mayRewind(pos); err != nil {
		return err
	}
	l.again = l.kept.len() // as far as pos is concerned all of it was sent
	if err := l.ack(pos); err != nil {
		return err
	}
	l.again = 0
	return nil
}

// drop forgets everything: the session is over.
func (l *ledger) drop() {
	for f, ok := l.kept.pop(); ok; f, ok = l.kept.pop() {
		f.release()
	}
	l.again, l.bytes = 0, 0
	l.acked = l.sent // what was kept is not: a RESUME that comes too late must find nothing
}
