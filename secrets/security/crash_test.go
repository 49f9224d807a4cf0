package security_test

const partVariable = "SECURITY_TEST_PART"

func play(string) int { return 1 }
