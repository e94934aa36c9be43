"""What a network costs: operations under three conventions, time, memory, energy."""
