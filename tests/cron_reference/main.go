// The cron library that Kubernetes uses, asked line by line: the judge of our own fire times.
//
// Each line of the input is {"expression", "zone", "after", "count"}, `after` in seconds since 1970; with a count of 0
// the expression is only parsed. Each line of the output is {"fires": [...]} (fewer than count where the library gives
// up), {"error": "..."}, or {"endless": true} where it has not answered within ten seconds.
// With the argument "bench" it prints the nanoseconds of processor time that finding all of them took, and nothing else.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/robfig/cron/v3"
)

type question struct {
	Expression string
	Zone       string
	After      int64
	Count      int
}

type answer struct {
	Fires   []int64 `json:"fires,omitempty"`
	Error   string  `json:"error,omitempty"`
	Endless bool    `json:"endless,omitempty"`
}

var zones sync.Map

func load(name string) *time.Location {
	if found, ok := zones.Load(name); ok {
		return found.(*time.Location)
	}
	location, err := time.LoadLocation(name)
	if err != nil {
		panic(err)
	}
	zones.Store(name, location)
	return location
}

func fires(schedule cron.Schedule, asked question) []int64 {
	found := make([]int64, 0, asked.Count)
	at := time.Unix(asked.After, 0).In(load(asked.Zone))
	for len(found) < asked.Count {
		at = schedule.Next(at)
		if at.IsZero() {
			break
		}
		found = append(found, at.Unix())
	}
	return found
}

func reply(asked question) answer {
	// The controller and the API server parse with the same function; the latter also refuses a zone.
	if strings.Contains(asked.Expression, "TZ") {
		return answer{Error: "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"}
	}
	schedule, err := cron.ParseStandard(asked.Expression)
	if err != nil {
		return answer{Error: err.Error()}
	}
	if asked.Count == 0 {
		return answer{}
	}
	done := make(chan []int64, 1)
	go func() { done <- fires(schedule, asked) }()
	select {
	case found := <-done:
		return answer{Fires: found}
	case <-time.After(10 * time.Second):
		return answer{Endless: true}
	}
}

func replies(asked []question) []answer {
	answers := make([]answer, len(asked))
	workers := runtime.NumCPU()
	var all sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		all.Add(1)
		go func(first int) {
			defer all.Done()
			for n := first; n < len(asked); n += workers {
				answers[n] = reply(asked[n])
			}
		}(worker)
	}
	all.Wait()
	return answers
}

// Nanoseconds of processor time that this process has used.
func processor() int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(make([]byte, 1<<20), 1<<24)
	var asked []question
	for input.Scan() {
		var each question
		if err := json.Unmarshal(input.Bytes(), &each); err != nil {
			panic(err)
		}
		asked = append(asked, each)
	}
	if len(os.Args) > 1 && os.Args[1] == "bench" {
		began := processor()
		for _, each := range asked {
			schedule, err := cron.ParseStandard(each.Expression)
			if err != nil {
				panic(err)
			}
			fires(schedule, each)
		}
		fmt.Println(processor() - began)
		return
	}
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	encoder := json.NewEncoder(output)
	encoder.SetEscapeHTML(false)
	for _, each := range replies(asked) {
		if err := encoder.Encode(each); err != nil {
			panic(err)
		}
	}
}
