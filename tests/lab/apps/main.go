// Command app is the lab's workload: as "server" it answers, as "client" it calls the server
// 20 times a second through both sidecars and counts what comes back.
package main

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const (
	target   = "http://127.0.0.1:3500/v1.0/invoke/server/method/echo"
	interval = 50 * time.Millisecond
	timeout  = 5 * time.Second
	// inFlight bounds the calls that wait for an answer; a call beyond it counts as a failure.
	inFlight = 200
	// shutdown is longer than the sidecar's dapr.io/block-shutdown-duration.
	shutdown = 5 * time.Second
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	switch mode := strings.Join(os.Args[1:], " "); mode {
	case "server":
		pod, _ := os.Hostname()
		mux.HandleFunc("/echo", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, pod) })
		go linger()
	case "client":
		counts := newCounts()
		mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, counts.read()) })
		mux.HandleFunc("/reset", func(w http.ResponseWriter, _ *http.Request) { reply(w, counts.reset()) })
		go call(counts)
	default:
		log.Fatalf("usage: app server|client, not %q", mode)
	}
	log.Fatal(http.ListenAndServe(":8080", mux))
}

func call(counts *counts) {
	client := &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			MaxIdleConnsPerHost: inFlight,
			DialContext:         (&net.Dialer{Timeout: timeout}).DialContext,
		},
	}
	slots := make(chan struct{}, inFlight)
	for range time.Tick(interval) {
		select {
		case slots <- struct{}{}:
			generation := counts.start()
			go func() {
				counts.add(generation, once(client))
				<-slots
			}()
		default:
			counts.add(counts.start(), result{text: "too many calls wait for an answer"})
		}
	}
}

// linger outlives the sidecar, which goes on passing calls for a while after the pod is told to stop.
func linger() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	<-time.After(shutdown)
	os.Exit(0)
}

// result is one call: the server pod that answered, or the status (0 without one) and text of the failure.
type result struct {
	pod    string
	status int
	text   string
}

func once(client *http.Client) result {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, target, nil)
	if err != nil {
		return result{text: err.Error()}
	}
	response, err := client.Do(request)
	if err != nil {
		return result{text: err.Error()}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	switch {
	case err != nil:
		return result{status: response.StatusCode, text: err.Error()}
	case response.StatusCode != http.StatusOK:
		return result{status: response.StatusCode, text: string(body)}
	}
	return result{pod: string(body), status: response.StatusCode}
}

func reply(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(value)
}
