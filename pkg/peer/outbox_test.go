package peer

import (
	"testing"

	"github.com/rsocket/rsocket-go/core"
)

func TestCreditDoesNotOverflow(t *testing.T) {
	st := &stream{kind: core.FrameTypeRequestStream}
	for _, n := range []uint32{maxN, maxN, 2, 1} { // 2³² after the third
		if st.grant(n); st.out.credit != maxN {
			t.Errorf("credit is %d", st.out.credit)
		}
	}
}

// 2³¹-1 is without limit: it is not used up after 2³¹-1 elements.
func TestUnlimitedCreditIsNotSpent(t *testing.T) {
	unlimited, last := outbox{credit: maxN}, outbox{credit: 1}
	unlimited.spend()
	last.spend()
	if unlimited.credit != maxN || last.credit != 0 {
		t.Errorf("credit is %d and %d", unlimited.credit, last.credit)
	}
}
