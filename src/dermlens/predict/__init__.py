"""Everything that answers, without torch or pandas: pictures, metadata, the network, answers."""
