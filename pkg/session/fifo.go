package session

// fifo is a queue. When it has become empty it gives its memory back, unless it is little or was of use just now.
type fifo[T any] struct {
	s    []T
	head int
	most int // the longest s was since it was empty
}

func (q *fifo[T]) len() int { return len(q.s) - q.head }

func (q *fifo[T]) at(i int) *T { return &q.s[q.head+i] }

func (q *fifo[T]) push(v T) {
	if q.head > 32 && q.head*2 > len(q.s) {
		n := copy(q.s, q.s[q.head:])
		clear(q.s[n:])
		q.s, q.head = q.s[:n], 0
	}
	q.s = append(q.s, v)
	q.most = max(q.most, len(q.s))
}

func (q *fifo[T]) pop() (v T, ok bool) {
	if q.head == len(q.s) {
		return v, false
	}
	var zero T
	v, q.s[q.head] = q.s[q.head], zero
	if q.head++; q.head == len(q.s) {
		if c := cap(q.s); c > 1024 || c > 64 && q.most < c/4 {
			q.s = nil
		}
		q.s, q.head, q.most = q.s[:0], 0, 0
	}
	return v, true
}
