package build

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"lighter/api"
)

// TestCredentialsStayOut plays CVE-2023-26054: what stands before a repository's host is told to
// nobody and kept nowhere, whether the repository is there or not.
func TestCredentialsStayOut(t *testing.T) {
	b := newFileBench(t)
	url, _, _, _ := repo(t)
	const secret = "t0ken-of-somebody"
	with := strings.Replace(url, "http://", "http://user:"+secret+"@", 1)
	if got, fail := b.image(t, "FROM scratch\nADD "+with+"#v1 /x\n"); fail != nil || len(got) == 0 {
		t.Fatalf("%v %+v", got, fail)
	}
	told := []any{b.told}
	if _, fail := b.image(t, "FROM scratch\nADD "+strings.Replace(with, "/r/", "/nosuch/", 1)+"#v1 /x\n"); fail == nil {
		t.Fatal("a repository that is not there was added")
	}
	for _, m := range b.told {
		// The Dockerfile's own lines are shown to who wrote them.
		if m.Error != nil {
			m.Error.Source = nil
		}
	}
	for _, m := range append(told, b.told) {
		text, err := json.Marshal(m)
		if err != nil || bytes.Contains(text, []byte(secret)) {
			t.Errorf("it is told: %s %v", text, err)
		}
	}
	err := filepath.WalkDir(b.Root.Path(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte(secret)) && !strings.Contains(path, "/contexts/") {
			t.Errorf("it is kept in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// graphs are definitions as no front end makes them.
func graphs(t testing.TB) map[string]*pb.Definition {
	raw := func(op *pb.Op) []byte {
		b, err := op.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one := raw(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "local://context"}}})
	on := func(of string, index int64) []byte {
		return raw(&pb.Op{Inputs: []*pb.Input{{Digest: of, Index: index}}})
	}
	first := digest.FromBytes(one).String()
	merge := func(m *pb.MergeOp, in ...*pb.Input) []byte {
		return raw(&pb.Op{Op: &pb.Op_Merge{Merge: m}, Inputs: in})
	}
	bad := map[string][]byte{
		"merge of nothing":        merge(&pb.MergeOp{}),
		"merge of what is not":    merge(&pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 7}, {Input: -9}}}, &pb.Input{Digest: first}),
		"diff of nothing":         raw(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{}}}),
		"diff of what is not":     raw(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 5}, Upper: &pb.UpperDiffInput{Input: 1 << 40}}}, Inputs: []*pb.Input{{Digest: first}}}),
		"file of nothing":         raw(&pb.Op{Op: &pb.Op_File{File: &pb.FileOp{}}}),
		"file action of nothing":  raw(&pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{{}}}}}),
		"file action, far inputs": raw(&pb.Op{Op: &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{{Input: 99, SecondaryInput: -7, Output: 1 << 40, Action: &pb.FileAction_Copy{Copy: &pb.FileActionCopy{}}}}}}}),
		"exec of nothing":         raw(&pb.Op{Op: &pb.Op_Exec{Exec: &pb.ExecOp{}}}),
		"source of nothing":       raw(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{}}}),
		"build":                   raw(&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{}}}),
	}
	list := map[string]*pb.Definition{
		"no bytes":               {Def: [][]byte{nil}},
		"no message":             {Def: [][]byte{[]byte("\xff\xff\xff")}},
		"no end":                 {Def: [][]byte{one}},
		"an end of nothing":      {Def: [][]byte{one, on("", 0)}},
		"an end elsewhere":       {Def: [][]byte{one, on("sha256:00", 0)}},
		"an index below zero":    {Def: [][]byte{one, on(first, -1)}},
		"an index out of bounds": {Def: [][]byte{one, on(first, 1<<40)}},
	}
	for name, op := range bad {
		list[name] = &pb.Definition{Def: [][]byte{one, op, on(digest.FromBytes(op).String(), 0)}}
	}
	return list
}

// TestMalformedGraphs plays CVE-2024-23650 and CVE-2026-93322: each is an error, and ends nothing but itself.
func TestMalformedGraphs(t *testing.T) {
	b := newFileBench(t)
	for name, def := range graphs(t) {
		j := b.newJob(t.Context(), Ask{Request: &api.BuildRequest{}}, func(api.BuildMessage) {})
		e, err := j.load(def)
		if err == nil {
			_, err = j.solve(t.Context(), e)
		}
		if err == nil && name != "merge of nothing" { // which is nothing
			t.Errorf("%s: it was done", name)
		}
		j.close()
	}
}

// FuzzGraph: any definition is read, or refused.
func FuzzGraph(f *testing.F) {
	for _, def := range graphs(f) {
		raw, err := def.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	b := newFileBench(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		def := &pb.Definition{}
		if def.UnmarshalVT(raw) != nil {
			return
		}
		j := b.newJob(t.Context(), Ask{Request: &api.BuildRequest{}}, func(api.BuildMessage) {})
		defer j.close()
		_, _ = j.load(def) // it must not break
	})
}
