// Package hubtest gives the hub's tests what they store into. No program links it.
package hubtest

import (
	"crypto/rand"
	"database/sql"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // "pgx" of database/sql
)

// Database is where a test keeps its tables: a file in dir, or a schema of its own in the
// PostgreSQL that HUB_TEST_POSTGRES names.
func Database(t *testing.T, dir string) string {
	t.Helper()
	pg := os.Getenv("HUB_TEST_POSTGRES")
	if pg == "" {
		return filepath.Join(dir, "hub.db")
	}
	db, err := sql.Open("pgx", pg)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	name := "t" + strings.ToLower(rand.Text())
	if _, err := db.ExecContext(t.Context(), `CREATE SCHEMA `+name); err != nil {
		t.Fatal(err)
	}
	return pg + "&search_path=" + name
}

// S3 starts a small S3 server of the Go module proxy, with its keys in the environment, and
// gives the storage's address of a bucket in it. here is the way from the test to this folder.
func S3(t *testing.T, here string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("short: builds an S3 server and runs it")
	}
	bin := filepath.Join(t.TempDir(), "gofakes3")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "github.com/johannesboyne/gofakes3/cmd/gofakes3")
	build.Dir, build.Env = filepath.Join(here, "testdata/s3"), append(os.Environ(), "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("needs the module github.com/johannesboyne/gofakes3, which cannot be fetched: %s", out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := free.Addr().String()
	free.Close()
	server := exec.Command(bin, "-host", host, "-backend", "memory", "-initialbucket", "hub", "-quiet")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed
	})
	Answers(t, http.DefaultClient, "http://"+host)
	t.Setenv("AWS_ACCESS_KEY_ID", "key")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return "s3://hub/team?insecure=1&region=us-east-1&endpoint=" + host
}

// Patience is how long a test waits for another program, on a machine that has much else to do.
const Patience = 30 * time.Second

// Answers waits until a server that was just started answers, whatever it says.
func Answers(t *testing.T, c *http.Client, url string) {
	t.Helper()
	for deadline := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		resp, err := c.Get(url)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not answer within %v: %v", Patience, err)
		}
	}
}
