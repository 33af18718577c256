// Package session is a connection of RSocket frames that outlives its links.
//
// A link is a net.Conn: TCP, TLS, or a WebSocket dressed as one. A session (Conn) begins with
// SETUP on its first link and goes on over as many links as it takes, until one side says
// goodbye, a RESUME is rejected, or it has been without a link for longer than its session time.
// What is above sees one connection that ends only once:
//
//	client                                   server
//	  SETUP (resume token, keepalive) ──────▶  Accept
//	  KEEPALIVE (respond)             ──────▶
//	                                  ◀──────  KEEPALIVE: the session is up
//	  frames of streams               ◀─────▶  frames of streams, counted by both
//	  ~~~ the link is lost, at any byte ~~~
//	  RESUME (token, what I have)     ──────▶  same session, or REJECTED_RESUME
//	                                  ◀──────  RESUME_OK (what I have)
//	  the frames the other lacks      ◀─────▶  the frames the other lacks, then new ones
//
// # What it promises
//
// Every frame of a stream that was given to a session arrives once, whole and in the order of its
// stream, or the session ends and says so to every stream. Frames on their way are kept until the
// other end has acknowledged them (Protocol.md, "Resuming Operation"); how many bytes may be kept
// is bounded, and at the bound a session stops taking new frames from its streams instead of
// dropping any. KEEPALIVE and METADATA_PUSH are not counted by the protocol and are lost with a link.
//
// # Who decides what leaves
//
// The session does, not the kernel: control frames first, then what is sent again after a RESUME,
// then CANCEL, REQUEST_N and ERROR, then the streams in turn, 16 KiB each. Messages are cut into
// fragments only as they leave, so a stream always speaks about now: whoever chooses a value asks
// Stream.Await first. The kernel is given little to hoard (TCP_NOTSENT_LOWAT).
//
// # Who owns what
//
// A session owns the table of its streams. It finds the stream of an incoming frame and hands the
// frame to the stream's Owner, and a new request to its Receiver. It never calls either with its
// lock held. The bytes of a Frame are good until that call returns. Nothing leaves before Flush.
//
// One goroutine reads a link. A sender exists only while there is something to send and the link
// does not take it at once. A session without a link has no goroutine at the server.
package session
