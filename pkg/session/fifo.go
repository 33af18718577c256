package session

// fifo is a queue that gives its memory back when it has long been empty.
type fifo[T any] struct {
	s    []T
	head int
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
}

func (q *fifo[T]) pop() (v T, ok bool) {
	if q.head == len(q.s) {
		return v, false
	}
	var zero T
	v, q.s[q.head] = q.s[q.head], zero
	if q.head++; q.head == len(q.s) {
		if q.head = 0; cap(q.s) > 64 {
			q.s = nil
		} else {
			q.s = q.s[:0]
		}
	}
	return v, true
}
