"""How good a network is: figures and filmstrips."""
