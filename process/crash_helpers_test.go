package process_test

func filter([]string) error { return nil }
func crash([]string) error  { return nil }
