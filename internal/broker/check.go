package broker

import (
	"fmt"
	"unicode/utf8"
)

// MaxShortString is the longest correlation id and queue name in bytes: AMQP
// writes their length in one byte. The driver learns of a longer one only in
// the middle of a frame and then drops the connection with everybody's
// messages, so the check comes before it, and holds in the process as well.
const MaxShortString = 255

// Check reports with ErrInvalid whether the notification cannot be sent.
func (n Notification) Check() error {
	switch {
	case n.MessageID == "":
		return fmt.Errorf("%w: the message id is empty", ErrInvalid)
	case !utf8.ValidString(n.MessageID):
		// JSON would replace the bytes and so name another message.
		return fmt.Errorf("%w: the message id is not UTF-8", ErrInvalid)
	}
	if err := checkShort("reply_to", n.ReplyTo); err != nil {
		return err
	}
	return checkShort("the correlation id", n.CorrelationID)
}

// CheckReply reports with ErrInvalid whether the answer cannot be sent to the
// queue.
func CheckReply(queue string, a Answer) error {
	if queue == "" {
		return fmt.Errorf("%w: the queue has no name", ErrInvalid)
	}
	if err := checkShort("the queue name", queue); err != nil {
		return err
	}
	return checkShort("the correlation id", a.CorrelationID)
}

func checkShort(what, s string) error {
	if len(s) > MaxShortString {
		return fmt.Errorf("%w: %s has %d bytes, AMQP allows %d", ErrInvalid, what, len(s), MaxShortString)
	}
	return nil
}
