package peer

import "testing"

// 2³¹-1 is without limit: it is not used up after 2³¹-1 elements.
func TestUnlimitedCreditIsNotSpent(t *testing.T) {
	unlimited, last := outbox{credit: maxN}, outbox{credit: 1}
	unlimited.spend()
	last.spend()
	if unlimited.credit != maxN || last.credit != 0 {
		t.Errorf("credit is %d and %d", unlimited.credit, last.credit)
	}
}
