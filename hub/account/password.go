package account

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

// Cost is what one hash of a password takes.
type Cost struct {
	Memory  uint32 // KiB
	Passes  uint32
	Threads uint8
}

// DefaultCost is the memory of RFC 9106's second choice, and twice the passes that OWASP
// asks for with it: a quarter of a second of one core.
var DefaultCost = Cost{Memory: 64 << 10, Passes: 2, Threads: 1}

// hasher hashes passwords, a few at a time: so many take their memory, the others wait.
type hasher struct {
	cost    Cost
	slots   chan struct{}
	waiting atomic.Int32
	count   atomic.Int64 // hashes made, for tests
	unknown string       // the hash that a user is compared with who is not there
	pepper  []byte       // for seen, of this process alone
	seen    *lately      // passwords that were right a short while ago
}

func newHasher(cost Cost) *hasher {
	h := &hasher{cost: cost, slots: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), pepper: make([]byte, 32), seen: newLately()}
	rand.Read(h.pepper)
	key := make([]byte, 48)
	rand.Read(key)
	h.unknown = h.phc(key[:16], key[16:]) // of no password
	return h
}

// maxWaiting bounds how many log-ins wait for a slot.
const maxWaiting = 200

// enter waits for a slot; leave gives it back.
func (h *hasher) enter(ctx context.Context) (leave func(), err error) {
	if h.waiting.Add(1) > maxWaiting {
		h.waiting.Add(-1)
		return nil, later(http.StatusServiceUnavailable, "UNAVAILABLE", 5*time.Second, "too many log-ins at once")
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var b64 = base64.RawStdEncoding

// encode hashes a password with fresh salt; the caller holds a slot.
func (h *hasher) encode(password string) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	h.count.Add(1)
	return h.phc(salt, argon2.IDKey([]byte(password), salt, h.cost.Passes, h.cost.Memory, h.cost.Threads, 32))
}

func (h *hasher) phc(salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.cost.Memory, h.cost.Passes, h.cost.Threads,
		b64.EncodeToString(salt), b64.EncodeToString(key))
}

// verify compares a password with a PHC string, whose cost may be another one than
// today's: then old says so. The caller holds a slot.
func (h *hasher) verify(phc, password string) (ok, old bool, err error) {
	var version int
	var cost Cost
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, false, errors.New("a password's hash is not argon2id")
	}
	_, err1 := fmt.Sscanf(parts[2], "v=%d", &version)
	_, err2 := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &cost.Memory, &cost.Passes, &cost.Threads)
	salt, err3 := b64.DecodeString(parts[4])
	want, err4 := b64.DecodeString(parts[5])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return false, false, fmt.Errorf("read a password's hash: %w", err)
	}
	if version != argon2.Version || cost.Memory > 1<<20 || cost.Passes == 0 || cost.Passes > 64 || cost.Threads == 0 || len(want) < 16 {
		return false, false, errors.New("a password's hash is of a cost that is not taken")
	}
	h.count.Add(1)
	got := argon2.IDKey([]byte(password), salt, cost.Passes, cost.Memory, cost.Threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, cost != h.cost, nil
}

// mark is what is remembered of a password that was right: nothing outside of this
// process can be made from it, and a new password (another hash) makes another mark.
func (h *hasher) mark(phc, password string) string {
	m := hmac.New(sha256.New, h.pepper)
	fmt.Fprintf(m, "%d:%s%s", len(phc), phc, password)
	return string(m.Sum(nil))
}

// common are passwords that everybody tries first, a line each.
//
//go:embed common.txt
var common string

// Weak tells what is wrong with a new password, nil when nothing is. Length is what
// counts (NIST SP 800-63B): no rule asks for signs of all kinds.
func Weak(name, password string) error {
	switch lower := strings.ToLower(password); {
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return invalid("the password is no text")
	case utf8.RuneCountInString(password) < 8:
		return invalid("the password is too short: take at least 8 characters")
	case len(password) > 1024:
		return invalid("the password is too long: take at most 1024 bytes")
	case strings.Contains(lower, name) && len(lower)-len(name) < 4:
		return invalid("the password is the name: take another one")
	case strings.Count(lower, lower[:1]) == len(lower) || slices.Contains(strings.Fields(common), lower):
		return invalid("the password is one that everybody tries first: take another one")
	}
	return nil
}
