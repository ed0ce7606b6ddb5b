package dashboard

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/websocket"

	"lighter/api"
	"lighter/page"
)

// shell is what a terminal runs when nothing else is said: the best that the image has.
var shell = []string{"/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh"}

const maxFrame = 64 << 10 // bytes that a browser sends at once

// terminal shows a terminal in a container, which the page's script ties to connectTerminal.
func (s containerPages) terminal(c *call) error {
	f, err := s.find(c)
	if err != nil {
		return err
	}
	f.Tab = "terminal"
	type data struct {
		*found
		Command, User string
	}
	return c.show("terminal", view{Title: "Terminal in " + f.Name, Nav: "containers",
		Data: data{f, page.Clip(c.field("cmd"), 500), page.Clip(c.field("user"), 100)}})
}

// message is a frame from a browser: bytes typed, or a text that tells the terminal's size.
type message struct {
	data []byte
	text bool
}

var frames = websocket.Codec{Unmarshal: func(data []byte, kind byte, v any) error {
	m := v.(*message)
	m.data, m.text = data, kind == websocket.TextFrame
	return nil
}}

// connectTerminal runs a command with a terminal in a container, tied to a websocket.
func (s containerPages) connectTerminal(c *call) error {
	if !c.sameOrigin() || c.r.Header.Get("Origin") == "" {
		return &refusal{403, "Only a page of the dashboard opens a terminal."}
	}
	ctx, done := s.stream(c.ctx())
	defer done()
	command := api.StrSlice(shell)
	if text := c.field("cmd"); text != "" {
		command = api.StrSlice{"/bin/sh", "-c", text}
	}
	size := [2]uint{dimension(c.field("rows"), 24), dimension(c.field("cols"), 80)}
	(&websocket.Server{Handler: func(ws *websocket.Conn) {
		ws.PayloadType, ws.MaxPayloadBytes = websocket.BinaryFrame, maxFrame
		say := func(err error) { fmt.Fprintf(ws, "\r\n\x1b[31m%s\x1b[0m\r\n", page.Sentence(err.Error())) }
		id, err := s.engine.Execs().Create(ctx, c.r.PathValue("id"), api.CreateExec{
			User: c.field("user"), Tty: true, ConsoleSize: &size, AttachStdin: true, AttachStdout: true, AttachStderr: true,
			Env: []string{"TERM=xterm-256color"}, Cmd: command,
		})
		if err != nil {
			say(err)
			return
		}
		process, err := s.engine.Execs().Attach(ctx, id, api.StartExec{Tty: true, ConsoleSize: &size})
		if err != nil {
			say(err)
			return
		}
		var typed sync.WaitGroup
		typed.Go(func() {
			defer process.Close() // a shell whose terminal is gone is told so
			for {
				var m message
				if frames.Receive(ws, &m) != nil {
					return
				}
				if !m.text {
					if _, err := process.Write(m.data); err != nil {
						return
					}
					continue
				}
				var window struct{ Rows, Columns uint }
				if json.Unmarshal(m.data, &window) == nil && window.Rows > 0 && window.Columns > 0 && window.Rows <= 1000 && window.Columns <= 1000 {
					_ = s.engine.Execs().Resize(ctx, id, window.Rows, window.Columns) // the process may have ended
				}
			}
		})
		_, _ = io.Copy(plain{ws}, process) // either end may leave at any time
		if e, err := s.engine.Execs().Inspect(ctx, id); err == nil && !e.Running && e.ExitCode != nil {
			fmt.Fprintf(ws, "\r\n\x1b[2mended with exit code %d\x1b[0m\r\n", *e.ExitCode)
		}
		_ = ws.SetDeadline(time.Now())
		ws.Close()
		typed.Wait()
	}}).ServeHTTP(c.w, c.r.WithContext(ctx))
	return nil
}

// plain hides that a connection can do more than write.
type plain struct{ w io.Writer }

func (p plain) Write(b []byte) (int, error) { return p.w.Write(b) }

func dimension(s string, otherwise uint) uint {
	n, err := strconv.ParseUint(s, 10, 10)
	if err != nil || n == 0 {
		return otherwise
	}
	return uint(n)
}
