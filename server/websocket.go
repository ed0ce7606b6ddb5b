package server

import (
	"errors"
	"net/http"

	"golang.org/x/net/websocket"

	"lighter/engine/container"
	"lighter/task"
)

// attachWebSocket answers GET /containers/{name}/attach/ws: the same streams as attach's,
// in the frames of a websocket (RFC 6455), and framed by nothing else.
func (c *containers) attachWebSocket(w http.ResponseWriter, r *request) error {
	file, pipe, err := c.s.config.Pair()
	if err != nil {
		return err
	}
	client := task.Client{Conn: file, Stdin: true, Stdout: true, Stderr: true}
	if !r.older("1.42") {
		client.Stdin, client.Stdout, client.Stderr = r.flag("stdin"), r.flag("stdout"), r.flag("stderr")
	}
	up, over := make(chan struct{}), make(chan struct{})
	serve := func() {
		defer close(over)
		defer pipe.Close()
		websocket.Server{Handler: func(ws *websocket.Conn) {
			if !r.older("1.28") {
				ws.PayloadType = websocket.BinaryFrame
			}
			close(up)
			(&hijacked{conn: ws, pipe: pipe}).handOver(c.s, r)
		}}.ServeHTTP(w, r.Request)
	}
	asked := false
	err = c.engine().Attach(r.Context(), r.name, container.AttachOptions{
		Logs: r.flag("logs"), Stream: r.flag("stream"), DetachKeys: r.query.Get("detachKeys"), Client: client,
		Accept: func() error {
			asked = true
			go serve()
			select {
			case <-up:
				return nil
			case <-over:
				return errNoWebSocket
			}
		},
	})
	if err != nil {
		file.Close() // at which the pumps end
	}
	if !asked {
		return errors.Join(err, pipe.Close())
	}
	<-over
	return nil // whatever it was, the connection has been answered
}

var errNoWebSocket = errors.New("the client asked for no websocket")
