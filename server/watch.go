package server

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"lighter/api"
	"lighter/engine/buildkit"
	"lighter/engine/container"
	"lighter/policy"
)

// watch is what looks at requests besides those who answer them: a policy and an audit log. An engine
// without either has none, and pays nothing.
type watch struct {
	policy atomic.Pointer[policy.Policy]
	audit  *Audit
	peer   func(net.Conn) (policy.Who, error)

	// names keeps what is used by name from being exchanged between the judgement and the act: held
	// for reading by requests that use names of networks and volumes, for writing by those that make
	// and remove them.
	names sync.RWMutex
}

func newWatch(c Config) *watch {
	if c.Policy == nil && c.Audit == nil {
		return nil
	}
	w := &watch{audit: c.Audit, peer: c.Peer}
	w.policy.Store(c.Policy)
	return w
}

// SetPolicy has requests from now on judged by another policy. There must have been one.
func (s *Server) SetPolicy(p *policy.Policy) { s.watch.policy.Store(p) }

// connKey is where a connection's context keeps who is at its other end.
type connKey struct{}

// peer is who is at the other end of a connection, asked for once.
type peer struct {
	conn net.Conn
	once sync.Once
	who  policy.Who
}

// note puts a connection's peer into the context of its requests.
func (w *watch) note(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, &peer{conn: conn})
}

// client finds out who asks: a verified certificate, or what the kernel noted when the process
// connected. Where neither tells, nothing is known.
func (w *watch) client(r *http.Request) policy.Who {
	if t := r.TLS; t != nil {
		if len(t.VerifiedChains) > 0 {
			return policy.Who{Cert: t.VerifiedChains[0][0]}
		}
		return policy.Who{}
	}
	p, ok := r.Context().Value(connKey{}).(*peer)
	if !ok || w.peer == nil {
		return policy.Who{}
	}
	p.once.Do(func() {
		if who, err := w.peer(p.conn); err == nil {
			p.who = who
		}
	})
	return p.who
}

// answer judges a request, has it answered and notes it.
func (w *watch) answer(s *Server, to route, rw http.ResponseWriter, r *request) (err error) {
	r.who = w.client(r.Request)
	is, asked := to.rule(), r.name
	if unlock, err := w.hold(is, rw, r); err != nil {
		return err
	} else if unlock != nil {
		defer unlock()
	}
	err = w.judge(s, to, r)
	if w.audit == nil || is.quiet && err == nil {
		if err == nil {
			err = s.answer(to, rw, r)
		}
		return err
	}
	out := &recorder{ResponseWriter: rw}
	r.entry = newEntry(r, to)
	r.entry.Object, r.entry.ID = asked, s.idOf(is, r.name)
	whole := false
	defer func() { // an answer that is cut off has its line, too
		if out.status == 0 && whole {
			out.status = http.StatusOK
		}
		w.audit.end(r.entry, out.status, err)
	}()
	if err == nil {
		err = w.audit.begin(r.entry)
	}
	if err == nil {
		err = s.answer(to, out, r)
	}
	whole = err == nil
	return err
}

// hold keeps names what they are while a request is judged and done. Its body is read before: a slow
// client keeps nobody waiting.
func (w *watch) hold(is rule, rw http.ResponseWriter, r *request) (unlock func(), err error) {
	if w.policy.Load() == nil || !is.names && !is.named {
		return nil, nil
	}
	if err := r.readAhead(rw); err != nil {
		return nil, err
	}
	if is.names {
		w.names.Lock()
		return w.names.Unlock, nil
	}
	w.names.RLock()
	return w.names.RUnlock, nil
}

// builds decides on what is asked for by BuildKit's protocol on a connection, by the policy that holds then,
// and notes it.
func (w *watch) builds(s *Server, r *request) buildkit.Begin {
	to := route{method: r.Method, path: "/grpc"}
	return func(req *api.BuildRequest) (func(error), error) {
		g, err := w.granted(s, to, to.rule(), r.who)
		if err == nil && req != nil {
			err = g.build(req)
		}
		if w.audit == nil {
			return func(error) {}, err
		}
		e := newEntry(r, to)
		e.Build = []string{"prune"}
		if req != nil {
			e.Build = append([]string{"build"}, req.Names...)
		}
		if err == nil {
			err = w.audit.begin(e)
		}
		if err != nil {
			w.audit.end(e, 0, err)
		}
		return func(err error) { w.audit.end(e, http.StatusOK, err) }, err
	}
}

// idOf gives the id of the container that a request is about, empty where there is none.
func (s *Server) idOf(is rule, name string) string {
	var k container.Known
	switch is.about { // what is not found is told by who handles it
	case aContainer:
		k, _ = container.Know(s.config.Containers, name)
	case anExec:
		k, _, _ = container.KnowExec(s.config.Containers, name)
	}
	return k.ID
}
