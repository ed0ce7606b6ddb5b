package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"lighter/api"
	"lighter/engine/container"
)

// lentWait is how long a client that was let may keep us waiting for what it lends.
const lentWait = 10 * time.Second

// lent is put for one large file, which a client of this machine lends us open: its bytes go from that file to the
// container's, and over no socket. What the client may not read it cannot open, so nor do we. It is ours:
//
//	POST …/archive?path=…&head=H&size=S   and as for PUT
//	101, whereupon the client sends H bytes, the tar's header, and with the first of them the file
//	an api.Lent as a line, in which 501 says that PUT is to be used
func (a *archives) lent(w http.ResponseWriter, r *request) error {
	p, err := r.archivePath()
	if err != nil {
		return err
	}
	head, headErr := strconv.Atoi(r.query.Get("head"))
	size, sizeErr := strconv.ParseInt(r.query.Get("size"), 10, 64)
	if err := errors.Join(headErr, sizeErr); err != nil || head < 1 || head > api.MaxLentHead || size < 0 {
		return api.Errorf(api.Invalid, "bad parameter: head is 1 to %d and size not negative", api.MaxLentHead)
	}
	h, err := a.s.hijack(w)
	if err != nil {
		return err
	}
	defer h.close()
	if err := h.accept(r, "application/x-tar", nil); err != nil {
		return nil // it has gone
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer onStop(ctx, func() { h.conn.Close() })()
	err = a.takeLent(ctx, cancel, h, make([]byte, head), size, func(tar io.Reader) error {
		return a.engine().CopyIn(ctx, r.name, p, tar, container.CopyOptions{Keep: r.flag("noOverwriteDirNonDir"), Owner: r.flag("copyUIDGID")})
	})
	answer := api.Lent{Status: http.StatusOK}
	if err != nil {
		answer = api.Lent{Status: api.KindOf(err).Status(), Message: err.Error()}
	}
	text, err := json.Marshal(answer)
	if err == nil {
		_, _ = h.conn.Write(append(text, '\n')) // it may have gone
	}
	return nil // all is said
}

// takeLent gives the tar that a client's header and file are to use. A client that goes cancels that.
func (a *archives) takeLent(ctx context.Context, cancel func(), h *hijacked, head []byte, size int64, use func(tar io.Reader) error) error {
	if len(h.got) > 0 {
		return api.Errorf(api.Invalid, "the client sent before it was let")
	}
	if err := h.conn.SetReadDeadline(time.Now().Add(lentWait)); err != nil {
		return err
	}
	file, err := a.s.config.Borrow(h.conn, head)
	if errors.Is(err, errors.ErrUnsupported) {
		return api.Errorf(api.NotImplemented, "no file came with the request that can be read in its place")
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if err := h.conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_, _ = h.conn.Read(make([]byte, 1)) // nothing more is to come but the end
		cancel()
	}()
	defer func() {
		_ = h.conn.SetReadDeadline(time.Unix(1, 0)) // an error says that nobody waits there any more
		<-watched
	}()
	const block = 512
	end := make([]byte, (block-size%block)%block+2*block)
	return use(io.MultiReader(bytes.NewReader(head), &lentFile{file: file, left: size}, bytes.NewReader(end)))
}

// lentFile reads so many bytes of a file from its beginning, wherever its owner reads it meanwhile.
type lentFile struct {
	file *os.File
	at   int64
	left int64
}

func (l *lentFile) Read(b []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	n, err := l.file.ReadAt(b[:min(int64(len(b)), l.left)], l.at)
	l.at, l.left = l.at+int64(n), l.left-int64(n)
	if n > 0 {
		return n, nil
	}
	if errors.Is(err, io.EOF) {
		err = api.Errorf(api.Invalid, "the file became shorter while it was copied")
	}
	return 0, fmt.Errorf("read what the client lent: %w", err)
}
