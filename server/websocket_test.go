package server

import (
	"io"
	"net"
	"testing"

	"golang.org/x/net/websocket"
)

// TestAttachWebSocket sees a container's output in a websocket, unframed.
func TestAttachWebSocket(t *testing.T) {
	sock := newEngine(t)
	call(t, sock, "POST", "/containers/create?name=aa", `{"Image":"img"}`)
	conn, err := net.Dial("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	config, err := websocket.NewConfig("ws://d/containers/aa/attach/ws?stream=1&stdout=1", "http://d/")
	if err != nil {
		t.Fatal(err)
	}
	ws, err := websocket.NewClient(config, conn)
	if err != nil {
		t.Fatal(err)
	}
	call(t, sock, "POST", "/containers/aa/start", "")
	call(t, sock, "POST", "/containers/aa/kill", "")
	if out, err := io.ReadAll(ws); string(out) != "hello \n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if status, body := call(t, sock, "GET", "/containers/nosuch/attach/ws", ""); status != 404 {
		t.Error(status, body)
	}
}
