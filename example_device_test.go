package gateway_test

import (
	"encoding/json"
	"fmt"
	"log"
)

// exampleEnvelope is the data of a reliable message or a command.
type exampleEnvelope struct {
	Kind, ID, RequestID, Type string
	Payload, Data             json.RawMessage
}

// envelope waits for the next message, which must be a reliable message or a
// command.
func (d *exampleDevice) envelope() (e exampleEnvelope) {
	if err := json.Unmarshal(d.frame().Data, &e); err != nil {
		log.Fatal(d.name, ": ", err)
	}
	return e
}

// answer waits for a command and answers it with a JSON value.
func (d *exampleDevice) answer(data string) {
	e := d.envelope()
	response := fmt.Sprintf(`{"requestId":%q,"data":%s}`, e.RequestID, data)
	if outcome := d.event("response", response); outcome != "ok" {
		log.Fatal(d.name, ": the answer was refused: ", outcome)
	}
}

// answering is answer while the example goes on; done waits for it.
func (d *exampleDevice) answering(data string) (done func()) {
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		d.answer(data)
	}()
	return func() { <-answered }
}

// event sends an event and returns the name of its error.
func (d *exampleDevice) event(name, data string) string {
	return d.ask(fmt.Sprintf(`{"type":"event","event":%q,"ackId":1,"dataType":"json","data":%s}`, name, data))
}
