package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"lighter/api"
	"lighter/policy"
)

const testPolicy = `
client root
	uid 0
	allow everything
	with everything
client ci
	uid 1
	allow everything
	label team=ci
client dev
	uid 2
	allow everything
client looker
	uid 3
	allow look
	route POST /containers/{name}/stop
`

// watched serves an engine under a policy, and gives a socket for each uid.
func watched(t testing.TB, text string, audit *Audit) (s *Server, socks []string) {
	t.Helper()
	s = engineServer(t)
	p, err := policy.Parse([]byte(text), Routes())
	if err != nil {
		t.Fatal(err)
	}
	s.config.Policy, s.config.Audit = p, audit
	dir := t.TempDir()
	s.config.Peer = func(c net.Conn) (policy.Who, error) {
		who := policy.Who{Local: true, PID: 7}
		_, err := fmt.Sscan(filepath.Base(c.LocalAddr().String()), &who.UID)
		return who, err
	}
	s.watch = newWatch(s.config)
	var ls []net.Listener
	for uid := range 5 {
		sock := filepath.Join(dir, fmt.Sprint(uid))
		l, err := net.Listen("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		ls, socks = append(ls, l), append(socks, sock)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, ls...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, socks
}

// TestEveryRouteHasARule, and no rule is of a route that there is not.
func TestEveryRouteHasARule(t *testing.T) {
	s, there := newServer(t), map[string]bool{}
	for _, r := range s.routes() {
		there[r.String()] = true
		if is := r.rule(); is.kind == "" {
			t.Errorf("%s has no rule: a policy lets nobody there", r)
		}
		if strings.HasPrefix(r.path, "/containers/{") && r.rule().about != aContainer || strings.HasPrefix(r.path, "/networks/{") && r.rule().about != aNetwork ||
			strings.HasPrefix(r.path, "/volumes/{") && r.rule().about != aVolume || strings.HasPrefix(r.path, "/exec/{") && r.rule().about != anExec {
			t.Errorf("%s: its rule does not say what {name} is", r)
		}
		if changes := r.method != "GET" && r.method != "HEAD"; changes && r.rule().quiet && r.path != "/auth" && !strings.HasSuffix(r.path, "/wait") {
			t.Errorf("%s changes something, and is not noted", r)
		}
	}
	for name := range rules {
		if !there[name] {
			t.Errorf("there is no route %s", name)
		}
	}
}

// TestPolicy plays those who try to get around it.
func TestPolicy(t *testing.T) {
	s, socks := watched(t, testPolicy, nil)
	const root, ci, dev, looker, stranger = 0, 1, 2, 3, 4
	must := func(who int, path, body string) string {
		t.Helper()
		status, text := call(t, socks[who], "POST", path, body)
		if status/100 != 2 {
			t.Fatalf("%s: %d %s", path, status, text)
		}
		var made struct {
			ID string `json:"Id"`
		}
		_ = json.Unmarshal([]byte(text), &made) // some answers are empty
		return made.ID
	}
	must(root, "/networks/create", `{"Name":"prod"}`)
	must(root, "/volumes/create", `{"Name":"prod"}`)
	must(root, "/volumes/create", `{"Name":"root-of-host","DriverOpts":{"type":"none","o":"bind","device":"/"},"Labels":{"team":"ci"}}`)
	prod := must(root, "/containers/create?name=prod", `{"Image":"img","HostConfig":{"Privileged":true,"NetworkMode":"none"}}`)
	must(root, "/containers/create?name=plain", `{"Image":"img","HostConfig":{"NetworkMode":"none"}}`)
	must(root, "/containers/create?name=given", `{"Image":"img","Labels":{"team":"ci"},"HostConfig":{"Binds":["/:/host"],"NetworkMode":"none"}}`)
	must(root, "/containers/prod/start", "")
	must(root, "/containers/given/start", "")
	rootExec := must(root, "/containers/plain/start", "") + must(root, "/containers/plain/exec", `{"Cmd":["x"],"Privileged":true}`)
	own := must(ci, "/containers/create?name=own", `{"Image":"img","HostConfig":{"NetworkMode":"none"}}`)
	must(ci, "/containers/own/start", "")
	must(ci, "/volumes/create", `{"Name":"own"}`)
	must(ci, "/networks/create", `{"Name":"own"}`)

	body := func(host string) string { return `{"Image":"img","HostConfig":{"NetworkMode":"none",` + host + `}}` }
	for _, row := range []struct {
		who                int
		method, path, body string
		status             int
	}{
		// Nobody, and who may only look; whatever the path looks like, it is the table's row that counts.
		{stranger, "GET", "/info", "", 403},
		{stranger, "GET", "/_ping", "", 200},
		{looker, "GET", "/containers/json", "", 200},
		{looker, "POST", "/containers/create", body(`"Init":false`), 403},
		{looker, "POST", "/v1.43/containers/create", body(`"Init":false`), 403},
		{looker, "POST", "/containers%2Fcreate", body(`"Init":false`), 403},
		{looker, "POST", "/v1.24/containers/create?x=/info", body(`"Init":false`), 403},
		{looker, "POST", "/containers/prod/kill", "", 403},
		{looker, "POST", "/containers/prod%2Fkill", "", 403},
		{looker, "POST", "/containers/json/kill", "", 403},
		{looker, "GET", "/containers/prod/attach/ws", "", 403},
		{looker, "GET", "/containers/prod/export", "", 403},
		{looker, "HEAD", "/containers/prod/archive?path=/", "", 403},
		{looker, "POST", "/containers/plain/stop?t=0", "", 204}, // its one route more
		{looker, "POST", "/grpc", "", 403},
		{looker, "POST", "/session", "", 403},
		{looker, "POST", "/swarm/init", "", 503},
		{looker, "GET", "/nosuch", "", 404},
		{ci, "POST", "/web/link", "", 403}, // the dashboard may all
		{dev, "POST", "/web/link", "", 403},
		{root, "POST", "/web/link", "", 503}, // there is none here

		// Others' things are not there, by whatever name.
		{ci, "GET", "/containers/prod/json", "", 404},
		{ci, "GET", "/containers/" + prod + "/json", "", 404},
		{ci, "GET", "/containers/" + prod[:12] + "/json", "", 404},
		{ci, "GET", "/containers/%2Fprod/json", "", 404},
		{ci, "POST", "/containers/prod/exec", `{"Cmd":["x"]}`, 404},
		{ci, "POST", "/exec/" + rootExec + "/start", `{}`, 404},
		{ci, "GET", "/exec/" + rootExec + "/json", "", 404},
		{ci, "DELETE", "/containers/prod?force=1", "", 404},
		{ci, "POST", "/commit?container=prod", "", 404},
		{ci, "POST", "/networks/own/connect", `{"Container":"prod"}`, 404},
		{ci, "POST", "/networks/prod/connect", `{"Container":"own"}`, 404},
		{ci, "GET", "/networks/prod", "", 404},
		{ci, "GET", "/networks/none", "", 404},
		{ci, "DELETE", "/networks/prod", "", 404},
		{ci, "GET", "/volumes/prod", "", 404},
		{ci, "DELETE", "/volumes/prod?force=1", "", 404},
		{ci, "POST", "/volumes/create", `{"Name":"prod"}`, 403},
		{ci, "DELETE", "/volumes/nosuch?force=1", "", 204},
		{ci, "POST", "/containers/create", body(`"VolumesFrom":["prod:ro"]`), 400},
		{ci, "POST", "/containers/create", body(`"PidMode":"container:prod"`), 400},
		{ci, "POST", "/containers/create", `{"Image":"img","HostConfig":{"NetworkMode":"container:prod"}}`, 400},
		{ci, "POST", "/containers/create", `{"Image":"img","HostConfig":{"NetworkMode":"container:later"}}`, 400},
		{ci, "POST", "/containers/create", body(`"Links":["prod:db"]`), 400},
		{ci, "POST", "/containers/create", `{"Image":"img","HostConfig":{"NetworkMode":"prod"}}`, 400},
		{ci, "POST", "/containers/create", `{"Image":"img","NetworkingConfig":{"EndpointsConfig":{"prod":{}}}}`, 400},
		{ci, "POST", "/containers/create", body(`"Binds":["prod:/x"]`), 403},
		{ci, "POST", "/containers/create", `{"Image":"img","Labels":{"team":"ops"}}`, 403},
		{ci, "POST", "/networks/create", `{"Name":"x","Labels":{"team":"ops"}}`, 403},
		// Its own: by its things it gets no further than its rights.
		{ci, "GET", "/containers/own/json", "", 200},
		{ci, "GET", "/containers/given/json", "", 200},
		{ci, "POST", "/containers/given/exec", `{"Cmd":["x"]}`, 403},
		{ci, "POST", "/containers/given/attach?stdin=1&stream=1", "", 403},
		{ci, "GET", "/containers/given/archive?path=/host/etc/shadow", "", 403},
		{ci, "POST", "/commit?container=given", "", 403},
		{ci, "POST", "/containers/create", body(`"VolumesFrom":["given"]`), 403},
		{ci, "POST", "/containers/create", body(`"Binds":["root-of-host:/x"]`), 403},

		// Who may all and has no rights.
		{dev, "POST", "/containers/prod/exec", `{"Cmd":["x"]}`, 403},
		{dev, "PUT", "/containers/prod/archive?path=/", "x", 403},
		{dev, "POST", "/exec/" + rootExec + "/start", `{}`, 403},
		{dev, "POST", "/containers/plain/exec", `{"Cmd":["x"],"Privileged":true}`, 403},
		{dev, "POST", "/containers/own/exec", `{"Cmd":["x"]}`, 201},
		{dev, "POST", "/containers/create", body(`"Privileged":true`), 403},
		{dev, "POST", "/v1.24/containers/create", body(`"Privileged":true`), 403},
		{dev, "POST", "/containers/create", body(`"privileged":true`), 403},
		{dev, "POST", "/containers/create", body(`"PRIVILEGED":true`), 403},
		{dev, "POST", "/containers/create", body(`"Privileged":false,"Privileged":true`), 403},
		{dev, "POST", "/containers/create", body(`"Privileged":true,"privileged":false`), 201}, // the last counts, for all
		{dev, "POST", "/containers/create", `{"Image":"img","HostConfig":{"NetworkMode":"none"},"hostconfig":{"Privileged":true}}`, 403},
		{dev, "POST", "/containers/create", body(`"Binds":["/:/host:ro"]`), 403},
		{dev, "POST", "/containers/create", body(`"Binds":["/:/host"]`), 403},
		{dev, "POST", "/containers/create", body(`"Mounts":[{"Type":"bind","Source":"/","Target":"/x"}]`), 403},
		{dev, "POST", "/containers/create", body(`"Mounts":[{"Type":"volume","Source":"v","Target":"/x","VolumeOptions":{"DriverConfig":{"Options":{"type":"none","o":"bind","device":"/"}}}}]`), 403},
		{dev, "POST", "/volumes/create", `{"Name":"x","DriverOpts":{"type":"none","o":"bind","device":"/"}}`, 403},
		{dev, "POST", "/containers/create", body(`"Binds":["root-of-host:/x"]`), 403},
		{dev, "POST", "/containers/create", body(`"PidMode":"container:prod"`), 403},
		{dev, "POST", "/containers/create", `{"Image":"img","HostConfig":{"NetworkMode":"host"}}`, 403},
		{dev, "POST", "/containers/own/update", `{"Binds":["/:/x"]}`, 403},
		{dev, "POST", "/containers/own/update", `{"Devices":[{"PathOnHost":"/dev/sda"}]}`, 403},
		{dev, "POST", "/networks/create", `{"Name":"m","Driver":"macvlan","Options":{"parent":"eth0"}}`, 403},
		{dev, "POST", "/containers/prod/stop?t=0", "", 204}, // which enters nothing

		{root, "POST", "/containers/given/exec", `{"Cmd":["x"]}`, 201},
	} {
		if status, text := call(t, socks[row.who], row.method, row.path, row.body); status != row.status {
			t.Errorf("uid %d %s %s %s: %d, want %d: %s", row.who, row.method, row.path, row.body, status, row.status, text)
		}
	}
	lists(t, socks[ci])

	// The policy that is read again holds for connections that are there.
	p, err := policy.Parse([]byte("client x\nuid 9\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.SetPolicy(p)
	if status, _ := call(t, socks[ci], "GET", "/containers/"+own+"/json", ""); status != 403 {
		t.Error(status)
	}
}

// lists: what is another's is in no list.
func lists(t *testing.T, sock string) {
	for path, want := range map[string]string{
		"/containers/json?all=1": "own",
		"/containers/json?all=1&filters=%7B%22name%22:[%22prod%22]%7D": "",
		"/networks":                 "own",
		"/volumes":                  "own",
		"/system/df?type=container": "own",
		"/events?until=":            "team",
	} {
		if strings.HasSuffix(path, "until=") {
			path += "1e9"
			want = ""
		}
		_, text := call(t, sock, "GET", path, "")
		if strings.Contains(text, `"prod"`) || strings.Contains(text, `"/prod"`) || strings.Contains(text, `"/plain"`) || want != "" && !strings.Contains(text, want) {
			t.Errorf("%s: %s", path, text)
		}
	}
}

// TestChunkedIntoPolicy: a body of no stated length, or after one of zero, is judged as it is done.
func TestChunkedIntoPolicy(t *testing.T) {
	_, socks := watched(t, testPolicy, nil)
	const head = "POST /containers/create HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\n"
	const bad = `{"Image":"img","HostConfig":{"Privileged":true}}`
	for name, row := range map[string]struct{ request, want string }{
		"chunks":             {head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(bad), bad), "403"},
		"chunks of a byte":   {head + "Transfer-Encoding: chunked\r\n\r\n" + regexp.MustCompile(`(?s).`).ReplaceAllString(bad, "1\r\n$0\r\n") + "0\r\n\r\n", "403"},
		"a length of zero":   {head + "Content-Length: 0\r\n\r\n" + bad, "400"},
		"chunks and a zero":  {head + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(bad), bad), "403"},
		"two values":         {head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(bad)+2) + "{}" + bad, "400"},
		"what is not JSON":   {strings.Replace(head, "application/json", "text/plain", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(bad), bad), "400"},
		"more than is read":  {head + fmt.Sprintf("Content-Length: %d\r\n\r\n", maxJSON+len(bad)) + strings.Repeat(" ", maxJSON) + bad, "400"},
		"a version before":   {strings.Replace(head, "/containers", "/v1.24/containers", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(bad), bad), "403"},
		"a doubled slash":    {strings.Replace(head, "/containers", "//containers", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(bad), bad), "301"},
		"an absolute target": {strings.Replace(head, "/containers", "http://x/containers", 1) + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(bad), bad), "403"},
	} {
		conn, err := net.Dial("unix", socks[2])
		if err != nil {
			t.Fatal(err)
		}
		go func() { // who answers before it has read all closes
			fmt.Fprint(conn, row.request)
		}()
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || !strings.HasPrefix(res.Status, row.want) {
			t.Errorf("%s: %v, %v, want %s", name, res, err, row.want)
		}
		conn.Close()
	}
}

// TestRenameRace exchanges names while somebody reaches for his own thing by one: whatever he gets
// is what was judged.
func TestRenameRace(t *testing.T) {
	s, socks := watched(t, testPolicy, nil)
	for _, c := range []struct {
		who        int
		name, body string
	}{{0, "prod", `{"Image":"img","HostConfig":{"Privileged":true,"NetworkMode":"none"}}`}, {1, "own", `{"Image":"img","HostConfig":{"NetworkMode":"none"}}`}} {
		if status, text := call(t, socks[c.who], "POST", "/containers/create?name="+c.name, c.body); status != 201 {
			t.Fatal(text)
		}
		if status, text := call(t, socks[c.who], "POST", "/containers/"+c.name+"/start", ""); status != 204 {
			t.Fatal(text)
		}
	}
	over := make(chan struct{})
	var renaming sync.WaitGroup
	renaming.Go(func() {
		for {
			for _, step := range [][2]string{{"own", "x"}, {"prod", "own"}, {"own", "prod"}, {"x", "own"}} {
				call(t, socks[0], "POST", "/containers/"+step[0]+"/rename?name="+step[1], "")
			}
			select {
			case <-over:
				return
			default:
			}
		}
	})
	reached := 0
	for range 100 {
		status, text := call(t, socks[1], "POST", "/containers/own/exec", `{"Cmd":["x"]}`)
		if status != 201 {
			continue
		}
		var made api.ID
		if err := json.Unmarshal([]byte(text), &made); err != nil {
			t.Fatal(err)
		}
		one, err := s.config.Containers.ExecInspect(t.Context(), made.ID, false)
		if err != nil {
			t.Fatal(err)
		}
		c, err := s.config.Containers.Inspect(t.Context(), one.ContainerID, false)
		if err != nil || c.HostConfig.Privileged {
			t.Fatalf("an exec in %s: %v", c.Name, err)
		}
		reached++
	}
	close(over)
	renaming.Wait()
	if reached == 0 {
		t.Error("nobody reached anything: the race was not run")
	}
}

// TestAudit: a line for each change and each refusal, whose secrets stay out.
func TestAudit(t *testing.T) {
	begun, path := time.Now(), filepath.Join(t.TempDir(), "audit")
	audit, err := OpenAudit(path, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { audit.Close() })
	_, socks := watched(t, testPolicy, audit)
	call(t, socks[1], "GET", "/containers/json", "")
	call(t, socks[1], "POST", "/containers/create?name=own", `{"Image":"img","Env":["PASSWORD=s3cret"],"Labels":{"x":"s3cret"},"HostConfig":{"NetworkMode":"none"}}`)
	call(t, socks[1], "POST", "/containers/own/start", "")
	call(t, socks[2], "POST", "/containers/create?name=host&token=s3cret", `{"Image":"img","HostConfig":{"Privileged":true}}`)
	call(t, socks[4], "GET", "/info", "")
	call(t, socks[1], "POST", "/containers/nosuch/stop", "")
	conn, err := net.Dial("unix", socks[1])
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "POST /containers/own/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != 101 {
		t.Fatal(res, err)
	}
	conn.Close()
	var text []byte
	for text, err = os.ReadFile(path); err == nil && bytes.Count(text, []byte("\n")) < 10; text, err = os.ReadFile(path) {
		if time.Since(begun) > 20*time.Second {
			break // the line of a connection that was taken over comes behind its answer
		}
	}
	if err != nil || strings.Contains(string(text), "s3cret") {
		t.Fatalf("%s %v", text, err)
	}
	var got []string
	for line := range strings.Lines(string(text)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Time == "" || e.PID != 7 || e.UID == nil {
			t.Fatalf("%s: %v", line, err)
		}
		got = append(got, fmt.Sprintf("%s %s %s %s%s %d id=%v denied=%v", e.Client, e.Method, e.Route, e.Object, e.Query["name"], e.Status, e.ID != "", e.Denied != ""))
	}
	want := strings.Split(`ci POST /containers/create own 0 id=false denied=false
ci POST /containers/create own 201 id=true denied=false
ci POST /containers/{name}/start own 0 id=true denied=false
ci POST /containers/{name}/start own 204 id=true denied=false
dev POST /containers/create host 0 id=false denied=false
dev POST /containers/create host 403 id=false denied=true
uid 4 GET /info  403 id=false denied=true
ci POST /containers/{name}/stop nosuch 404 id=false denied=false
ci POST /containers/{name}/attach own 0 id=true denied=false
ci POST /containers/{name}/attach own 101 id=true denied=false`, "\n")
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
}

// TestAuditFull: with a full disk the engine goes on, and tells of what is missing; a strict one does not.
func TestAuditFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	for strict, want := range map[bool]int{false: 201, true: 503} {
		dir := t.TempDir()
		audit, err := OpenAudit("/dev/full", strict)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { audit.Close() })
		_, socks := watched(t, testPolicy, audit)
		if status, text := call(t, socks[1], "POST", "/volumes/create", `{"Name":"vol"}`); status != want {
			t.Errorf("strict %v: %d %s", strict, status, text)
		}
		if status, _ := call(t, socks[1], "GET", "/volumes", ""); status != 200 {
			t.Error(status)
		}
		audit.path = filepath.Join(dir, "audit")
		if err := audit.Reopen(); err != nil {
			t.Fatal(err)
		}
		if status, text := call(t, socks[1], "POST", "/volumes/create", `{"Name":"other"}`); status != 201 {
			t.Error(status, text)
		}
		text, err := os.ReadFile(audit.path)
		if err != nil || !regexp.MustCompile(`"lost":[12]`).Match(text) {
			t.Errorf("strict %v: %s %v", strict, text, err)
		}
	}
	if _, err := OpenAudit("/nosuch/audit", false); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
