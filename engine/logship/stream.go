package logship

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// How long a server may take.
const (
	dialTime  = 10 * time.Second
	writeTime = 30 * time.Second
)

// stream is a connection to a log server that answers nothing. One that the server has
// closed is noticed by reading, so that nothing is written into the void.
type stream struct {
	network, address string
	tls              *tls.Config

	conn net.Conn
	gone chan struct{} // closed when the server closed conn
	read sync.WaitGroup
}

func (s *stream) dial(ctx context.Context) error {
	d := net.Dialer{Timeout: dialTime}
	var err error
	if s.tls != nil {
		s.conn, err = (&tls.Dialer{NetDialer: &d, Config: s.tls}).DialContext(ctx, s.network, s.address)
	} else {
		s.conn, err = d.DialContext(ctx, s.network, s.address)
	}
	if err != nil {
		s.conn = nil
		return err
	}
	s.gone = make(chan struct{})
	if s.datagrams() {
		return nil
	}
	conn, gone := s.conn, s.gone
	s.read.Go(func() {
		_, _ = io.Copy(io.Discard, conn)
		close(gone)
	})
	return nil
}

func (s *stream) datagrams() bool { return s.network == "udp" || s.network == "unixgram" }

// errGone is a connection that the server closed.
var errGone = errors.New("the log server closed the connection")

// write sends b as a whole. A connection that is no good any more is made anew, once.
func (s *stream) write(ctx context.Context, b []byte) (err error) {
	for range 2 {
		if s.conn == nil {
			if err = s.dial(ctx); err != nil {
				return err
			}
		}
		if err = s.put(ctx, b); err == nil {
			return nil
		}
		s.close()
	}
	return err
}

func (s *stream) put(ctx context.Context, b []byte) error {
	select {
	case <-s.gone:
		return errGone
	default:
	}
	conn := s.conn
	if err := conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	_, err := conn.Write(b)
	return err
}

func (s *stream) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.read.Wait()
	s.conn = nil
	return err
}
