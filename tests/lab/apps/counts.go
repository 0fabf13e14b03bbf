package main

import (
	"maps"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxTexts bounds how many different error texts are kept.
const maxTexts = 50

// stats is what /stats shows: totals since the last reset. Calls that were under way
// at a reset are not counted.
type stats struct {
	Since        time.Time      `json:"since"`
	Answers      int            `json:"answers"`
	Failures     int            `json:"failures"`
	ByCause      map[string]int `json:"by_cause"`
	ByStatus     map[string]int `json:"by_status"`
	ByServer     map[string]int `json:"by_server"`
	Texts        map[string]int `json:"texts"`
	LastAnswerAt *time.Time     `json:"last_answer_at"`
	LastErrorAt  *time.Time     `json:"last_error_at"`
	LastError    string         `json:"last_error"`
}

type counts struct {
	mutex      sync.Mutex
	generation int
	stats      stats
}

func newCounts() *counts {
	return &counts{stats: empty()}
}

func empty() stats {
	return stats{
		Since: time.Now(), ByCause: map[string]int{}, ByStatus: map[string]int{},
		ByServer: map[string]int{}, Texts: map[string]int{},
	}
}

func (c *counts) start() int {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.generation
}

func (c *counts) add(generation int, result result) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if generation != c.generation {
		return
	}
	now := time.Now()
	if result.text == "" {
		c.stats.Answers++
		c.stats.ByServer[result.pod]++
		c.stats.LastAnswerAt = &now
		return
	}
	c.stats.Failures++
	c.stats.ByCause[cause(result.text)]++
	c.stats.ByStatus[strconv.Itoa(result.status)]++
	if text := class(result.text); c.stats.Texts[text] > 0 || len(c.stats.Texts) < maxTexts {
		c.stats.Texts[text]++
	}
	c.stats.LastErrorAt = &now
	c.stats.LastError = result.text
}

func (c *counts) read() stats {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	copied := c.stats
	copied.ByCause = maps.Clone(copied.ByCause)
	copied.ByStatus = maps.Clone(copied.ByStatus)
	copied.ByServer = maps.Clone(copied.ByServer)
	copied.Texts = maps.Clone(copied.Texts)
	return copied
}

func (c *counts) reset() stats {
	c.mutex.Lock()
	c.generation++
	c.stats = empty()
	c.mutex.Unlock()
	return c.read()
}

// causes are tried in order: a refused certificate often shows inside a text that also says Unavailable.
var causes = []struct {
	name  string
	marks []string
}{
	{"certificate", []string{"x509", "certificate", "tls: ", "unknown authority"}},
	{"handshake", []string{"handshake"}},
	{"sidecar", []string{"127.0.0.1:3500"}},
	{"resolve", []string{"zero addresses", "no such host", "failed to resolve", "name resolver"}},
	{"timeout", []string{"deadline exceeded", "timeout", "Timeout"}},
	{"unavailable", []string{"Unavailable", "connection refused", "connection reset", "closing", "EOF"}},
}

func cause(text string) string {
	for _, cause := range causes {
		for _, mark := range cause.marks {
			if strings.Contains(text, mark) {
				return cause.name
			}
		}
	}
	return "other"
}

var varying = regexp.MustCompile(`[0-9]+`)

// class makes texts that differ only in numbers (addresses, ports, times) one.
func class(text string) string {
	return varying.ReplaceAllString(text, "N")
}
