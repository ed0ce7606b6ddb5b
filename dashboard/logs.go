package dashboard

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"lighter/client"
	"lighter/page"
)

// How much of a log a page shows, and looks through.
const (
	logShown    = 500
	logSearched = 50_000
	logLine     = 16 << 10 // bytes of a line
)

// logEntry is a line of a container's output.
type logEntry struct {
	At     string `json:"at"`   // as people read it
	Stamp  string `json:"time"` // RFC 3339
	Stream string `json:"stream"`
	Text   string `json:"text"`
}

// escapes are what terminals do something with: colours, titles.
var escapes = regexp.MustCompile("\x1b(?:\\[[0-9;?]*[ -/]*[@-~]|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?|[@-Z\\\\^_])")

// lineReader cuts output into lines, each of which begins with its time.
type lineReader struct {
	stream string
	each   func(logEntry) error
	left   []byte
	err    error
}

func (l *lineReader) Write(p []byte) (int, error) {
	l.left = append(l.left, p...)
	for l.err == nil {
		line, rest, ok := bytes.Cut(l.left, []byte("\n"))
		if !ok && len(l.left) < 2*logLine {
			break
		}
		l.err = l.each(entry(l.stream, string(line)))
		l.left = append(l.left[:0], rest...)
	}
	return len(p), l.err
}

// entry reads a line.
func entry(stream, line string) logEntry {
	stamp, text, _ := strings.Cut(line, " ")
	e := logEntry{Stream: stream, Text: text}
	if at, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
		e.Stamp, e.At = stamp, at.Local().Format("15:04:05.000")
	} else {
		e.Text = line
	}
	text = escapes.ReplaceAllString(strings.TrimSuffix(e.Text, "\r"), "")
	e.Text = page.Shown(strings.ReplaceAll(page.Clip(text, logLine), "\t", "    "))
	return e
}

// read gives the lines of a container's log.
func (s containerPages) read(ctx context.Context, id string, o client.LogsOptions, each func(logEntry) error) error {
	o.Stdout, o.Stderr, o.Timestamps = true, true, true
	out, err := s.engine.Containers().Logs(ctx, id, o)
	if err != nil {
		return err
	}
	defer out.Close()
	one, two := &lineReader{stream: "stdout", each: each}, &lineReader{stream: "stderr", each: each}
	if out.Raw {
		_, err = io.Copy(one, out)
	} else {
		err = client.Demux(one, two, out)
	}
	return err
}

// logs shows the end of a container's output, or the lines in it that hold a text.
func (s containerPages) logs(c *call) error {
	f, err := s.find(c)
	if err != nil {
		return err
	}
	f.Tab = "logs"
	type data struct {
		*found
		Find  string
		Lines []logEntry
		More  bool   // there were lines before
		Last  string // the time of the last line
	}
	d := data{found: f, Find: page.Clip(strings.TrimSpace(c.field("q")), 200)}
	tail := logShown + 1
	if d.Find != "" {
		tail = logSearched
	}
	ctx, stop := context.WithTimeout(c.ctx(), 20*time.Second)
	defer stop()
	err = s.read(ctx, f.ID, client.LogsOptions{Tail: strconv.Itoa(tail)}, func(e logEntry) error {
		d.Last = e.Stamp
		if has(d.Find, e.Text) {
			d.Lines = append(d.Lines, e)
		}
		if len(d.Lines) > 2*logShown {
			d.Lines = append(d.Lines[:0], d.Lines[len(d.Lines)-logShown-1:]...)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n := len(d.Lines); n > logShown {
		d.More, d.Lines = true, d.Lines[n-logShown:]
	}
	return c.show("logs", view{Title: "Logs of " + f.Name, Nav: "containers", Data: d})
}

// followLogs sends lines as they come, as events of the server (text/event-stream).
func (s containerPages) followLogs(c *call) error {
	f, err := s.find(c)
	if err != nil {
		return err
	}
	since := ""
	if at, err := time.Parse(time.RFC3339Nano, c.field("since")); err == nil {
		at = at.Add(time.Nanosecond)
		since = fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond())
	}
	tail := "all"
	if since == "" {
		tail = "0"
	}
	find := strings.TrimSpace(c.field("q"))
	return c.stream(func(ctx context.Context, send func(any) error) error {
		return s.read(ctx, f.ID, client.LogsOptions{Follow: true, Since: since, Tail: tail}, func(e logEntry) error {
			if !has(find, e.Text) {
				return nil
			}
			return send(e)
		})
	})
}

// stream answers with events until the browser leaves, the dashboard stops, or feed is done.
// What could not be sent within a while ends it.
func (c *call) stream(feed func(ctx context.Context, send func(any) error) error) error {
	ctx, done := c.s.stream(c.ctx())
	defer done()
	h, rc := c.w.Header(), http.NewResponseController(c.w)
	h.Set("Content-Type", "text/event-stream")
	c.w.WriteHeader(http.StatusOK)
	if err := rc.Flush(); err != nil {
		return nil
	}
	var mu sync.Mutex
	out := bufio.NewWriter(c.w)
	var late *time.Timer
	defer func() {
		mu.Lock()
		defer mu.Unlock()
		if late != nil {
			late.Stop()
		}
		out = nil
	}()
	put := func(event string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if event != "" {
			fmt.Fprintf(out, "event: %s\n", event)
		}
		fmt.Fprintf(out, "data: %s\n\n", b)
		if late == nil { // lines that come together go together
			late = time.AfterFunc(20*time.Millisecond, func() {
				mu.Lock()
				defer mu.Unlock()
				if late = nil; out != nil {
					_ = rc.SetWriteDeadline(time.Now().Add(30 * time.Second))
					_ = out.Flush()
					_ = rc.Flush()
				}
			})
		}
		return ctx.Err()
	}
	err := feed(ctx, func(v any) error { return put("", v) })
	if ctx.Err() == nil {
		text := ""
		if err != nil {
			text = err.Error()
		}
		_ = put("over", text)
		mu.Lock()
		defer mu.Unlock()
		_ = out.Flush()
	}
	return nil
}
