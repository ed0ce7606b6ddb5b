package proc

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, who may map ids")
	}
}

var remap = []IDs{{0, 100000, 65536}}

// TestUserSpace makes namespaces that another one owns, and starts a process in them.
func TestUserSpace(t *testing.T) {
	needRoot(t)
	user, err := UserSpace(remap, remap)
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	net, err := NetSpace(user)
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	var uids []IDs
	if err := Visit(Options{User: user}, func(pid int) (err error) { uids, _, err = ReadIDs(pid); return err }); err != nil {
		t.Fatal(err)
	}
	if len(uids) != 1 || uids[0] != remap[0] {
		t.Errorf("the namespace's map is %v", uids)
	}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("needs sh")
	}
	for _, copied := range []bool{false, true} {
		p := NewPlan()
		if copied {
			if p, err = NewCopyPlan(); err != nil {
				t.Fatal(err)
			}
		}
		ours, theirs, err := PipeOut()
		if err != nil {
			t.Fatal(err)
		}
		p.Add("join", Join(File(net), NewNet)) // which only its owner's root may
		p.Add("become root", Gid(0))
		p.Add("become root", Uid(0))
		p.Add("out", DupTo(File(theirs), 1))
		p.Exec([]string{sh}, []string{"sh", "-c", "id -u; echo $$; cat /proc/self/uid_map | tr -s ' '"}, []string{"PATH=/bin:/usr/bin"})
		child, err := p.Start(Options{User: user, New: NewPid | NewMount})
		theirs.Close()
		if err != nil {
			t.Fatal(err)
		}
		if exit, err := Wait(t.Context(), child.Pidfd); err != nil || exit.Code != 0 {
			t.Errorf("ended with %v, %v", exit, err)
		}
		out := make([]byte, 512)
		n, _ := ours.Read(out)
		if got := strings.Join(strings.Fields(string(out[:n])), " "); got != "0 1 0 100000 65536" {
			t.Errorf("copied %v: the program says %q", copied, got)
		}
		ours.Close()
		child.Pidfd.Close()
	}
}
