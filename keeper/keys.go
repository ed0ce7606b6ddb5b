package keeper

import "bytes"

// keys looks for a sequence of keys in what somebody types. The beginning of the
// sequence is held back until the next key decides: it ends the search, or all that
// was held back is passed on.
type keys struct {
	sequence []byte // none when empty
	held     int    // how many keys of it were typed
}

// filter gives what of b is to be passed on, and whether the sequence is complete;
// what was typed after it is for nobody.
func (k *keys) filter(b []byte) (pass []byte, found bool) {
	if len(k.sequence) == 0 {
		return b, false
	}
	all := append(bytes.Clone(k.sequence[:k.held]), b...)
	if i := bytes.Index(all, k.sequence); i >= 0 {
		k.held = 0
		return all[:i], true
	}
	k.held = overlap(all, k.sequence)
	return all[:len(all)-k.held], false
}

// rest gives what was held back when nothing more comes.
func (k *keys) rest() []byte {
	held := k.sequence[:k.held]
	k.held = 0
	return held
}

// overlap is the length of the longest beginning of sequence that b ends with.
func overlap(b, sequence []byte) int {
	for n := min(len(b), len(sequence)-1); n > 0; n-- {
		if bytes.HasSuffix(b, sequence[:n]) {
			return n
		}
	}
	return 0
}
